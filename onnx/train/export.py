"""Writes the guard's folder from trained weights: the int8 graph, tokenizer, golden scores and manifest.

Thresholds in it are 0.5: `seawall guard calibrate` chooses them afterwards, on scores as the proxy has them. The folder
is written beside its place and its files moved over the old ones, the manifest last. A graph whose int8 form ranks
worse than its fp32 form, or whose scores depend on padding, is not written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
import tomllib
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from data import LANGUAGES, Example, Maker, training, validation
from encode import PROMPT_MAX, STRIDE, WINDOW, Encoder
from graph import Arrays, Range, build
from score import COLUMN, feed, scored, session

CALIBRATION_TEXTS = 400
# Texts kept out of training on which int8 is compared with fp32.
COMPARED_TEXTS = 2000
# How much of the channels' differences moves from activations to weights.
SMOOTHING = 0.6
GOLDEN_EACH = 3
# Most that int8 may cost in mean AUPRC, and that padding and neighbours may change a score.
LOSS, JITTER = 0.005, 1e-4
GRAPH, TOKENIZER, GOLDEN = "model.int8.onnx", "tokenizer.json", "golden.jsonl"

MANIFEST = """\
format = 1
name = "seawall-mini"
version = "{version}"
kind = "sequence-classification"
licence = "Apache-2.0"
languages = {languages}

[files]
{files}

[inputs]
ids = "input_ids"
mask = "attention_mask"

[output]
name = "logits"
activation = "sigmoid"

[tokens]
max = 512        # positions the graph takes, template included
window = {window}     # tokens of text scored at once; longer text is cut into windows of this size
stride = {stride}
pad = 1

[tasks.prompt]
unsafe = [0]
template = [{{ ids = [0] }}, {{ text = "query: " }}, {{ slot = "text" }}, {{ ids = [2] }}]
threshold = 0.5

[tasks.response]
unsafe = [1]
template = [{{ ids = [0] }}, {{ text = "query: " }}, {{ slot = "prompt", max = {prompt_max} }}, {{ ids = [2, 2] }}, \
{{ slot = "text" }}, {{ ids = [2] }}]
threshold = 0.5

[golden]
tolerance = 0.02
"""


def measure(arrays: Arrays, texts: list[Example]) -> dict[str, Range]:
    """The range of every value that a linear layer reads, over these texts one by one."""
    model = session(build(arrays, observed=True).SerializeToString(), threads=2)
    names = [output.name for output in model.get_outputs()][1:]
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for example in texts:
        for name, value in zip(names, model.run(names, feed([example.ids])), strict=True):
            channels = value.reshape(-1, value.shape[-1])
            low[name] = np.minimum(low[name], channels.min(axis=0))
            high[name] = np.maximum(high[name], channels.max(axis=0))
    return {name: smoothed(low[name], high[name]) for name in names}


def smoothed(low: np.ndarray, high: np.ndarray) -> Range:
    largest = np.maximum(high, -low)
    smooth = np.maximum(largest / largest.mean(), 1e-3) ** SMOOTHING
    bottom, top = float((low / smooth).min()), float((high / smooth).max())
    step = (top - bottom) / 255
    return Range(smooth, step, round(-bottom / step))


def varied(examples: list[Example], count: int, rng: random.Random) -> list[Example]:
    """A sample with every task, language and label in like numbers."""
    cells: dict[tuple, list[Example]] = {}
    for example in rng.sample(examples, len(examples)):
        cells.setdefault((example.task, example.lang, example.unsafe), []).append(example)
    chosen: list[Example] = []
    while len(chosen) < count and any(cells.values()):
        chosen += [cells[key].pop() for key in sorted(cells) if cells[key]]
    return chosen[:count]


def golden(model, examples: list[Example], rng: random.Random) -> list[dict]:
    """A few texts for each task and language, with what they must score alone."""
    lines = []
    short = [e for e in examples if len(e.text) < 400]
    chosen = [
        example
        for task in COLUMN
        for lang in LANGUAGES
        for example in varied([e for e in short if (e.task, e.lang) == (task, lang)], GOLDEN_EACH, rng)
    ]
    for example in chosen:
        line = {"task": example.task, "lang": example.lang}
        if example.task == "response":
            line["prompt"] = example.prompt
        score = float(scored(model, [example])[0])
        lines.append(line | {"text": example.text, "ids": list(example.ids), "score": round(score, 5)})
    return lines


def ranking(examples: list[Example], scores: np.ndarray) -> dict[str, float]:
    """Mean average precision over the languages that have both kinds of text, by task."""
    areas: dict[str, list[float]] = {}
    for task in COLUMN:
        for lang in LANGUAGES:
            own = [i for i, e in enumerate(examples) if (e.task, e.lang) == (task, lang)]
            truth = [examples[i].unsafe for i in own]
            if any(truth) and not all(truth):
                areas.setdefault(task, []).append(average_precision_score(truth, scores[own]))
    return {task: float(np.mean(values)) for task, values in areas.items()}


def write(out: Path, files: dict[str, bytes], manifest: dict) -> None:
    """Puts the files in place by renames, so that no reader sees half a file."""
    digests = {"graph": GRAPH, "tokenizer": TOKENIZER, "golden": GOLDEN}
    lines = (
        f'{key} = {{ path = "{name}", sha256 = "{hashlib.sha256(files[name]).hexdigest()}" }}'
        for key, name in digests.items()
    )
    files["guard.toml"] = MANIFEST.format(files="\n".join(lines), **manifest).encode()
    tomllib.loads(files["guard.toml"].decode())
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
            (Path(folder) / name).chmod(0o644)
        for name in files:
            shutil.move(Path(folder) / name, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--out", type=Path, required=True, help="the guard's folder")
    arguments = parser.parse_args()

    config = tomllib.loads(arguments.config.read_text())
    rng = random.Random(config["seed"])
    maker = Maker(Encoder(arguments.tokenizer))
    seen = training(arguments.data, arguments.text, maker, config)[-1]
    held = validation(arguments.data, arguments.text, maker)
    with np.load(arguments.weights) as packed:
        arrays = {name: packed[name] for name in packed.files}

    graph = build(arrays, measure(arrays, varied(seen, CALIBRATION_TEXTS, rng))).SerializeToString()
    model, exact = session(graph, 2), session(build(arrays).SerializeToString(), 2)
    compared = rng.sample(held, min(COMPARED_TEXTS, len(held)))
    scores, exact_scores = scored(model, compared), scored(exact, compared)
    gap = np.abs(scores - exact_scores)
    print(f"int8 against fp32: mean {gap.mean():.4f}, 99th percentile {np.quantile(gap, 0.99):.4f}")
    full, small = ranking(compared, exact_scores), ranking(compared, scores)
    print(f"AUPRC, mean of languages: fp32 {full}, int8 {small}")
    some = rng.sample(held, min(200, len(held)))
    change = np.abs(scored(model, some, batch=1) - scored(model, some, batch=64)).max()
    print(f"padding and neighbours change a score by at most {change:.6f}")
    if change > JITTER or any(full[task] - small[task] > LOSS for task in full):
        raise SystemExit("the int8 graph is not good enough: nothing was written")

    lines = golden(model, held, rng)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    files = {GRAPH: graph, TOKENIZER: arguments.tokenizer.read_bytes(), GOLDEN: text.encode()}
    manifest = {
        "version": config["version"],
        "languages": json.dumps(LANGUAGES),
        "window": WINDOW,
        "stride": STRIDE,
        "prompt_max": PROMPT_MAX,
    }
    write(arguments.out, files, manifest)


if __name__ == "__main__":
    main()
