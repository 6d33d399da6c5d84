"""Measures a guard's folder: ranking, recall and false positives by language and task, its promises, and its speed."""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.metrics import average_precision_score, roc_auc_score

from data import HERE, LANGUAGES, Example, Maker, read, validation
from encode import PAD, Encoder

COLUMN = {"prompt": 0, "response": 1}
# Ordinary harmless text, on which false positives are counted; twins of unsafe requests are a harder matter.
EVERYDAY = {"benign_sea", "daily", "gpteacher_benign", "own-help", "own-refusal", "refusal"}
# A language's own threshold needs at least so many harmless texts; the others share one. All stay within bounds: few
# harmless texts reach the lower ones, and above the upper ones too much that is unsafe would pass.
ENOUGH = 50
BOUNDS = {"prompt": (0.35, 0.75), "response": (0.15, 0.75)}

Thresholds = dict[str, dict[str, float]]


def session(graph: Path | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def feed(rows: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The graph's inputs for texts of any lengths, padded on the right."""
    ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    mask = np.zeros_like(ids)
    for row, values in enumerate(rows):
        ids[row, : len(values)] = values
        mask[row, : len(values)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def run(model: onnxruntime.InferenceSession, rows: list[tuple[int, ...]], batch: int = 16) -> np.ndarray:
    """Both columns of P(unsafe) for every row."""
    out = np.empty((len(rows), 2), np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(rows), batch):
        chosen = order[start : start + batch]
        (logits,) = model.run(["logits"], feed([rows[i] for i in chosen]))
        out[chosen] = 1 / (1 + np.exp(-logits))
    return out


def scored(model: onnxruntime.InferenceSession, examples: list[Example], batch: int = 16) -> np.ndarray:
    both = run(model, [example.ids for example in examples], batch)
    return np.array([row[COLUMN[example.task]] for row, example in zip(both, examples, strict=True)])


def summary(examples: list[Example], scores: np.ndarray, thresholds: Thresholds | None = None) -> str:
    """A table with a line for each task, kind of text and language; `daily` is the harmless part of the others."""
    groups = defaultdict(list)
    for index, example in enumerate(examples):
        own = example.source.startswith(("comply", "daily", "opener", "own", "refusal"))
        groups[(example.task, "own" if own else "public", example.lang)].append(index)
        if example.source in EVERYDAY:
            groups[(example.task, "daily", example.lang)].append(index)
    lines = ["task     kind   lang unsafe  safe  AUPRC AUROC recall    FPR"]
    for (task, kind, lang), members in sorted(groups.items()):
        truth = np.array([examples[i].unsafe for i in members])
        score = scores[members]
        flagged = score >= threshold_for(thresholds or {}, task, lang)
        area = " " * 12
        if 0 < truth.sum() < len(truth):
            area = f"{average_precision_score(truth, score):6.3f} {roc_auc_score(truth, score):5.3f}"
        recall = f"{flagged[truth].mean():6.3f}" if truth.any() else " " * 6
        false = f"{flagged[~truth].mean():6.3f}" if not truth.all() else ""
        lines.append(f"{task:8} {kind:6} {lang:4} {truth.sum():6} {(~truth).sum():5} {area} {recall} {false}")
    return "\n".join(lines)


def threshold_for(thresholds: Thresholds, task: str, lang: str) -> float:
    levels = thresholds.get(task, {})
    return levels.get(lang, levels.get("default", 0.5))


def choose_thresholds(examples: list[Example], scores: np.ndarray, target: float) -> Thresholds:
    """For each task and language the level that flags `target` of its harmless text, and a default."""
    harmless = defaultdict(list)
    for example, score in zip(examples, scores, strict=True):
        if example.source in EVERYDAY:
            harmless[(example.task, example.lang)].append(score)

    def level(task: str, values: list[float]) -> float:
        return round(float(np.clip(np.quantile(values, 1 - target), *BOUNDS[task])), 3)

    chosen: Thresholds = {}
    for task in COLUMN:
        own = {lang: harmless[(task, lang)] for lang in LANGUAGES if len(harmless[(task, lang)]) >= ENOUGH}
        others = [score for lang in LANGUAGES if lang not in own for score in harmless[(task, lang)]]
        default = level(task, others or [score for values in own.values() for score in values])
        chosen[task] = {"default": default} | {lang: level(task, values) for lang, values in own.items()}
    return chosen


def manifest_thresholds(manifest: dict) -> Thresholds:
    return {
        task: {"default": settings["threshold"], **settings["thresholds"]}
        for task, settings in manifest["tasks"].items()
    }


def smoke(maker: Maker) -> list[Example]:
    """A few texts that are in no data, by language and task."""
    examples = []
    for row in read(HERE / "smoke.jsonl"):
        unsafe = row["label"] == "unsafe"
        if row["task"] == "prompt":
            examples += maker.prompt("smoke", row["lang"], unsafe, row["text"])
        else:
            examples += maker.response("smoke", row["lang"], unsafe, row["prompt"], row["text"])
    return examples


def confusion(examples: list[Example], scores: np.ndarray, thresholds: Thresholds) -> str:
    cells = defaultdict(lambda: [0, 0, 0, 0])
    missed = []
    for example, score in zip(examples, scores, strict=True):
        flagged = score >= threshold_for(thresholds, example.task, example.lang)
        cells[(example.task, example.lang)][2 * (not example.unsafe) + (not flagged)] += 1
        if flagged != example.unsafe:
            missed.append(f"  {'unsafe' if example.unsafe else 'safe'} at {score:.3f}: [{example.lang}] {example.text}")
    lines = ["task     lang caught missed flagged passed"]
    lines += [f"{task:8} {lang:4} {a:6} {b:6} {c:7} {d:6}" for (task, lang), (a, b, c, d) in sorted(cells.items())]
    return "\n".join([*lines, "wrong:", *missed])


def speed(graph: Path, threads: int) -> str:
    """Milliseconds a text: the best of several runs, since other work on the machine only adds to it."""
    model = session(graph, threads)
    parts = []
    for batch, length in ((1, 16), (1, 32), (1, 64), (1, 128), (1, 256), (16, 32)):
        inputs = feed([tuple(range(3, 3 + length))] * batch)
        times = []
        for _ in range(10):
            started = time.perf_counter()
            model.run(["logits"], inputs)
            times.append(time.perf_counter() - started)
        parts.append(f"{batch}x{length} {1000 * min(times) / batch:.1f}")
    return f"{threads} threads, ms a text at batch x tokens: " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guard", type=Path, required=True, help="the guard's folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with valid.jsonl")
    parser.add_argument("--text", type=Path, required=True, help="folder of our own text")
    arguments = parser.parse_args()

    manifest = tomllib.loads((arguments.guard / "guard.toml").read_text())
    thresholds = manifest_thresholds(manifest)
    graph = arguments.guard / manifest["files"]["graph"]["path"]
    maker = Maker(Encoder(arguments.guard / manifest["files"]["tokenizer"]["path"]))
    model = session(graph, threads=2)

    held = validation(arguments.data, arguments.text, maker)
    print(summary(held, scored(model, held), thresholds))
    fresh = smoke(maker)
    alone = scored(model, fresh, batch=1)
    print(confusion(fresh, alone, thresholds))
    print(f"padding changes a score by at most {np.abs(alone - scored(model, fresh, batch=64)).max():.6f}")
    gaps = []
    for line in read(arguments.guard / manifest["files"]["golden"]["path"]):
        ids = maker.encoder.prompt(line["text"])
        if line["task"] == "response":
            ids = maker.encoder.response(line["prompt"], line["text"])
        if ids != line["ids"]:
            raise SystemExit(f"golden ids differ: {json.dumps(line, ensure_ascii=False)}")
        gaps.append(abs(float(run(model, [ids])[0, COLUMN[line["task"]]]) - line["score"]))
    print(f"golden scores differ by at most {max(gaps):.6f}")
    for threads in (1, 2):
        print(speed(graph, threads))


if __name__ == "__main__":
    main()
