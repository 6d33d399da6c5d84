"""Guard throughput: Seawall's guard against the same graph driven directly by ONNX Runtime with ideal batches.

Ideal means: texts encoded beforehand, sorted by length, batches of the best size for the token budget, run in the fastest of
several ways, and nothing else to do. The ways: one batch at a time on all cores, by threads that spin while they wait for each
other or that sleep; or as many batches at a time as there are cores, each on one.
Both run over the same texts in turn, so that the machine's moods meet both; the median of the pairs' ratios is what counts.

usage: guard.py [--rounds N] [--texts N]
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
GUARD = ROOT / "onnx" / "guards" / "seawall-mini"
# Token budgets of a batch that are tried; the fastest is the ideal.
BUDGETS = (128, 256, 512, 1024, 2048, 4096)
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Way:
    """How batches are run."""

    name: str
    at_once: int
    threads: int
    spins: bool


WAYS = (
    Way("one at a time, by threads that sleep", 1, CORES, False),
    Way("one at a time, by threads that spin", 1, CORES, True),
    Way(f"{CORES} at a time", CORES, 1, False),
)


def texts() -> list[str]:
    """Prompts in eight languages: the text that the embedded guard learnt from."""
    lines = (line for path in sorted((ROOT / "onnx/train/text/prompts").glob("*.jsonl")) for line in path.open())
    groups = [json.loads(line) for line in lines]
    return [text for group in groups for label in ("unsafe", "safe") for text in group[label].values()]


class Direct:
    """ONNX Runtime by itself."""

    def __init__(self, count: int):
        manifest = tomllib.loads((GUARD / "guard.toml").read_text())
        tokenizer = Tokenizer.from_file(str(GUARD / manifest["files"]["tokenizer"]["path"]))
        self.pad = manifest["tokens"]["pad"]
        rows = [(text, [0, *tokenizer.encode("query: " + text, add_special_tokens=False).ids, 2]) for text in texts()]
        # Texts of one window, so that both sides run the same rows.
        rows = [row for row in rows if len(row[1]) <= manifest["tokens"]["window"]]
        chosen = random.Random(1).sample(rows, min(count, len(rows)))
        self.texts = [text for text, _ in chosen]
        self.rows = sorted((ids for _, ids in chosen), key=len)
        graph = GUARD / manifest["files"]["graph"]["path"]
        self.sessions = {way: self.session(graph, way) for way in WAYS}

    @staticmethod
    def session(graph: Path, way: Way) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = way.threads
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(way.spins)))
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def batches(self, budget: int) -> list[dict[str, np.ndarray]]:
        out, batch = [], []
        for row in self.rows:
            if batch and len(row) * (len(batch) + 1) > budget:
                out.append(self.feed(batch))
                batch = []
            batch.append(row)
        return [*out, self.feed(batch)]

    def feed(self, rows: list[list[int]]) -> dict[str, np.ndarray]:
        ids = np.full((len(rows), max(map(len, rows))), self.pad, np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def round(self, batches: list[dict[str, np.ndarray]], way: Way) -> float:
        """Seconds for all batches."""
        session, left, started = self.sessions[way], iter(batches), time.perf_counter()

        def work() -> None:
            # One step of a list's iterator is whole, whoever takes it.
            for batch in left:
                session.run(["logits"], batch)

        others = [threading.Thread(target=work) for _ in range(1, way.at_once)]
        for other in others:
            other.start()
        work()
        for other in others:
            other.join()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=400)
    arguments = parser.parse_args()

    direct = Direct(arguments.texts)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(text) + "\n" for text in direct.texts)
        file.flush()
        command = ["cargo", "bench", "--locked", "--quiet", "--bench", "guard", "--", file.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as ours:

            def seawall() -> float:
                ours.stdin.write("\n")
                ours.stdin.flush()
                return float(ours.stdout.readline())

            plans = {budget: direct.batches(budget) for budget in BUDGETS}
            seawall()
            choices = [(budget, way) for budget in BUDGETS for way in WAYS]
            best, way = min(choices, key=lambda choice: direct.round(plans[choice[0]], choice[1]))
            pairs = [(seawall(), direct.round(plans[best], way)) for _ in range(arguments.rounds)]
            ours.stdin.close()
    count, tokens = len(direct.texts), sum(map(len, direct.rows))
    mine, ideal = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = sorted(theirs / own for own, theirs in pairs)
    print(f"{count} texts of {tokens / count:.0f} tokens on average, {arguments.rounds} rounds each, in turn")
    print(f"seawall's guard, encoding included     {count / mine:8.1f} texts a second")
    print(f"ONNX Runtime alone, batches of {best:4} tok {count / ideal:8.1f} texts a second, {way.name}")
    print(f"ratio: median {statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
