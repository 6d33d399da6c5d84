"""The guard's folder made whole; and its graph in ONNX Runtime alone, with ideal batches, beside Seawall's queue.

Ideal means what it means in tests/bench/guard.py: texts encoded beforehand, sorted by length, batches of the best size.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import llm
import numpy as np
import onnxruntime
import rate
from export import guard, profile
from export.__main__ import read_tasks
from export.words import Words

import model as models
from machine import Machine
from measure import spread
from model import Model
from ours import Prefill
from workloads import FIRST, PROMPT, in_turn, padded

ROOT = Path(__file__).parents[2]
PROFILE = "sea-guard-12b"
# Token budgets of a batch that are tried; the fastest is the ideal.
BUDGETS = (1024, 2048, 4096, 8192)


class Asked:
    """How the guard is asked: as the exporter has it for SEA-Guard."""

    def __init__(self, model: Model):
        self.profile = profile.load(PROFILE)
        self.words = Words(model.checkpoint / "tokenizer.json")
        self.tasks = read_tasks(model.checkpoint, None, self.profile, self.words)

    def ids(self, text: str, answer: str | None = None) -> list[int]:
        """What is fed to judge a prompt, or an answer to it."""
        slots = {"text": text} if answer is None else {"prompt": text, "text": answer}
        return self.words.fill(self.tasks["prompt" if answer is None else "response"].template, slots)

    def length(self) -> int:
        """Words that a prompt has, so that it is fed as PROMPT tokens on average."""
        count = 1
        while np.mean([len(self.ids(rate.prose(count))) for _ in range(20)]) < PROMPT:
            count += 1
        return count


def measure(machine: Machine, model: Model, dtype: str, rounds: int, quick: bool) -> dict:
    folder, asked = model.guard(dtype), Asked(model)
    graph = Prefill(folder / "prefill.onnx", machine)
    _complete(folder, asked, models.layout(model, machine, dtype), graph)
    count, words = 32 if quick else 256, asked.length()
    prompts = [rate.prose(words) for _ in range(count)]
    judged = [asked.ids(prompt) for prompt in prompts]
    answered = [asked.ids(prompt, llm.text(1)) for prompt in prompts]

    def run(batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
        for ids, lengths in batches:
            graph(ids, lengths)

    plans = {budget: partial(run, _batches(judged, budget)) for budget in BUDGETS}
    tried = {budget: float(times[0]) for budget, times in in_turn(plans, 1).items()}
    best = min(tried, key=tried.get)
    calls = partial(run, _batches(judged + answered, best))
    fresh = _fresh(graph, max(map(len, judged + answered)))
    with _queue(prompts, folder, machine) as queue:
        times = in_turn({"queue": queue, "alone": plans[best], "calls": calls}, rounds)
    return {
        "rounds": rounds,
        "words": words,
        "prompts": count,
        "tokens": float(np.mean([len(ids) for ids in judged])),
        "tokens_of_answers": float(np.mean([len(ids) for ids in answered])),
        "budgets_texts_s": {budget: count / seconds for budget, seconds in tried.items()},
        "budget": best,
        "alone_texts_s": count / float(np.median(times["alone"])),
        "queue_texts_s": count / float(np.median(times["queue"])),
        "queue_to_alone": spread(times["alone"] / times["queue"]),
        # Two texts a call, as a proxy judges them: a prompt and its answer.
        "alone_calls_s": count / float(np.median(times["calls"])),
        "new_shape_ms": fresh,
    }


def _complete(folder: Path, asked: Asked, layout: models.Layout, graph: Prefill) -> None:
    """What a guard's folder has besides graphs and weights.

    Golden scores are the graph's own here, by ONNX Runtime alone: that Seawall comes to the same is what they show.
    """
    cases = guard.golden(asked.tasks, asked.words)
    logits = np.concatenate([graph(*padded(case.sequences)) for case in cases])
    scores = guard.probabilities(asked.profile, logits)
    lines = [
        case.line | {"ids": case.sequences[0], "score": float(score)} for case, score in zip(cases, scores, strict=True)
    ]
    (folder / "golden.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked.words.save(folder / "tokenizer.json")
    small = [name for name in guard.FILES.values() if name != guard.FILES["weights"]]
    digests = {name: guard.digest(folder / name) for name in small}
    digests[guard.FILES["weights"]] = (folder / models.DIGEST).read_text()
    (folder / "guard.toml").write_text(guard.manifest(asked.profile, layout, asked.tasks, digests))


def _fresh(graph: Prefill, longest: int) -> dict[str, float]:
    """Milliseconds of one sequence of a length that no run had before, and of the same again."""
    times = {"first": [], "again": []}
    for length in range(longest + 1, longest + 17):
        for found in times.values():
            started = time.perf_counter()
            graph(np.full((1, length), FIRST, np.int64), np.array([length], np.int64))
            found.append((time.perf_counter() - started) * 1e3)
    return {name: float(np.median(found)) for name, found in times.items()}


def _batches(sequences: list[list[int]], budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    batches: list[list[list[int]]] = [[]]
    for ids in sorted(sequences, key=len):
        if batches[-1] and len(ids) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(ids)
    return [padded(batch) for batch in batches]


@contextlib.contextmanager
def _queue(texts: list[str], folder: Path, machine: Machine) -> Iterator[Callable[[], None]]:
    """tests/bench/guard.rs over these texts: each call is a round."""
    built = os.environ.get("GUARD_BENCH")
    command = [built] if built else ["cargo", "bench", "--locked", "--quiet", "--bench", "guard", "--"]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
        file.flush()
        command += [file.name, str(folder), "cuda" if machine.gpu else "cpu"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=os.environ | runtime(), cwd=ROOT, **pipes) as process:

            def run() -> None:
                process.stdin.write("\n")
                process.stdin.flush()
                float(process.stdout.readline())

            yield run
            process.stdin.close()


def runtime() -> dict[str, str]:
    """What shows Seawall the ONNX Runtime of this process, with torch's CUDA and cuDNN."""
    packages = Path(onnxruntime.__file__).parents[1], Path(models.torch.__file__).parents[1]
    library = next(packages[0].glob("onnxruntime/capi/libonnxruntime.so.*"))
    cuda = [str(path) for path in packages[1].glob("nvidia/*/lib")]
    searched = [*cuda, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"ORT_DYLIB_PATH": str(library), "LD_LIBRARY_PATH": ":".join(searched)}
