"""Writes the labelled text that `seawall` tunes and measures the guard on, none of it trained on.

`calibration-….jsonl` is what thresholds are chosen on, and the others are what the guard is measured on: `own.jsonl`
and `daily.jsonl`, our groups and our ordinary requests that were kept out of training; `public.jsonl`, the public
sources' validation rows; `everyday.jsonl`, the ordinary harmless rows of these. No text that is judged is in
calibration and in one of them.

Thresholds are chosen for harmless text of every day, so calibration's safe prompts are such: public rows that training
did not draw, and ordinary requests, which score higher than the sentences of those rows. There is no public text of
that kind with responses in all languages, so for these, and for unsafe text, calibration gets a part of the groups kept
out, translations together.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections import defaultdict
from pathlib import Path

from data import EVERYDAY, Example, Maker, kept_back, read, training, validation
from encode import Encoder

# Shares of the held-out groups, and of the ordinary requests, that calibration gets.
SHARE, ORDINARY_SHARE = 0.3, 0.5
# Texts this much alike (of the runs of five letters in both, the share that is in both at once) are the same text.
ALIKE = 0.6


def line(example: Example) -> str:
    label = "unsafe" if example.unsafe else "safe"
    row = {"text": example.text, "label": label, "lang": example.lang, "source": example.source}
    if example.task == "response":
        row |= {"text": example.prompt, "response": example.text}
    return json.dumps(row, ensure_ascii=False) + "\n"


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def runs(text: str) -> set[str]:
    letters = plain(text)
    return {letters[at : at + 5] for at in range(max(1, len(letters) - 4))}


def unlike(examples: list[Example], trained: list[Example]) -> list[Example]:
    """Those public examples that are not near to one that was trained on: some sources say the same in many ways."""
    known = {(e.task, e.source, plain(e.text)): runs(e.text) for e in trained if not e.source.startswith("own")}
    places = defaultdict(list)
    for key, own in known.items():
        for run in own:
            places[(key[0], key[1], run)].append(key)
    kept = []
    for example in examples:
        own, shared = runs(example.text), defaultdict(int)
        for run in own:
            for key in places.get((example.task, example.source, run), ()):
                shared[key] += 1
        if all(count / (len(own) + len(known[key]) - count) <= ALIKE for key, count in shared.items()):
            kept.append(example)
    return kept


def split(held: list[Example], rng: random.Random) -> tuple[list[Example], list[Example]]:
    """What calibration gets of the groups kept out, and the rest."""

    def group(example: Example) -> str:
        return example.parallel.split("/")[0] or plain(example.prompt or example.text)

    ordinary = {group(example) for example in held if example.source == "daily"}
    share = {name: ORDINARY_SHARE if name in ordinary else SHARE for name in {group(example) for example in held}}
    drawn = {name for name in sorted(share) if rng.random() < share[name]}
    mine = [e for e in held if group(e) in drawn and (e.unsafe or e.task == "response" or e.source == "daily")]
    texts = {(e.task, plain(e.text)) for e in mine}
    return mine, [e for e in held if (e.task, plain(e.text)) not in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    arguments = parser.parse_args()

    config = tomllib.loads(arguments.config.read_text())
    rng = random.Random(config["seed"])
    maker = Maker(Encoder(arguments.tokenizer))
    runs_of = training(arguments.data, arguments.text, maker, config)
    trained = [example for examples in runs_of for example in examples]
    spare = kept_back(rng.sample(rows := list(read(arguments.data / "train.jsonl")), len(rows)), trained, maker)
    mine, rest = split(unlike(validation(arguments.data, arguments.text, maker), trained), rng)
    ours, ordinary = ("own", "refusal", "comply", "opener"), "daily"
    calibration = [*unlike(spare, trained), *mine]
    parts = {
        "calibration-prompts": [e for e in calibration if e.task == "prompt"],
        "calibration-responses": [e for e in calibration if e.task == "response"],
        "own": [e for e in rest if e.source.startswith(ours)],
        "daily": [e for e in rest if e.source == ordinary],
        "public": [e for e in rest if not e.source.startswith((*ours, ordinary))],
        "everyday": [e for e in rest if e.source in EVERYDAY and not e.unsafe],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, examples in parts.items():
        (arguments.out / f"{name}.jsonl").write_text("".join(map(line, examples)), encoding="utf-8")
        print(f"{name}: {len(examples)} texts")


if __name__ == "__main__":
    main()
