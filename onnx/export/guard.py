"""The guard's folder around the graphs: manifest, golden scores, tokenizer."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .graph import IDS, LENGTHS, LOGITS
from .layout import Layout
from .profile import Asked, Profile
from .reference import logits
from .weights import CHUNK
from .words import Piece, Words

TEXTS = Path(__file__).with_name("golden.toml")
FILES = {
    "graph": "prefill.onnx",
    "incremental": "incremental.onnx",
    "weights": "weights.bin",
    "tokenizer": "tokenizer.json",
    "golden": "golden.jsonl",
}
# How far a graph's score may be from the reference's, which computes in float32.
TOLERANCE = {"float32": 0.01, "bfloat16": 0.05}


@dataclass(frozen=True)
class Task:
    """A task as the manifest has it."""

    asked: Asked
    template: list[Piece]


@dataclass(frozen=True)
class Case:
    """A golden text, and its sequences: one, or one for each pass."""

    line: dict
    sequences: list[list[int]]


def golden(tasks: dict[str, Task], words: Words) -> list[Case]:
    """The golden texts of every task that the guard has."""
    cases = []
    for line in tomllib.loads(TEXTS.read_text())["case"]:
        if task := tasks.get(line["task"]):
            slots = [line | {"pass": asked} for asked in task.asked.passes or ("",)]
            cases.append(Case(line, [words.fill(task.template, filled) for filled in slots]))
    return cases


def probabilities(profile: Profile, values: np.ndarray) -> np.ndarray:
    """P(unsafe) from the labels' logits [texts, labels]."""
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares @ np.array([profile.unsafe.get(label, 0.0) for label in profile.labels])


def scores(profile: Profile, layout: Layout, cases: list[Case], stored: bool = True) -> np.ndarray:
    """P(unsafe) of each text in its worst pass by the reference; with weights as stored, or as the checkpoint has."""
    read = layout.stored if stored else layout.original
    sequences = [ids for case in cases for ids in case.sequences]
    found = probabilities(profile, logits(layout.decoder, read, layout.embeddings, sequences))
    starts = np.cumsum([0, *(len(case.sequences) for case in cases[:-1])])
    return np.maximum.reduceat(found, starts)


def manifest(profile: Profile, layout: Layout, tasks: dict[str, Task], digests: dict[str, str]) -> str:
    """guard.toml."""
    tokens = profile.tokens
    columns = [profile.labels.index(label) for label in profile.unsafe]
    named = zip(profile.labels, layout.labels, strict=True)
    labels = [f"{{ text = {_text(label)}, id = {token} }}" for label, token in named]
    lines = [
        "format = 1",
        f"name = {_text(profile.name)}",
        f"version = {_text(profile.version)}",
        'kind = "decoder-label"',
        f"licence = {_text(profile.licence)}",
        f"languages = {_list(profile.languages)}",
        "",
        "[files]",
        *(f'{key} = {{ path = "{path}", sha256 = "{digests[path]}" }}' for key, path in FILES.items()),
        "",
        "[inputs]",
        f'ids = "{IDS}"',
        f'lengths = "{LENGTHS}"',
        "",
        "[output]",
        f'name = "{LOGITS}"',
        'activation = "softmax"',
        f"labels = [{', '.join(labels)}]",
        "",
        "[tokens]",
        *(f"{key} = {tokens[key]}" for key in ("max", "window", "stride")),
        f"pad = {layout.checkpoint.config.get('pad_token_id') or 0}",
    ]
    for name, task in tasks.items():
        lines += ["", f"[tasks.{name}]", f"unsafe = {columns}"]
        if any(weight != 1 for weight in profile.unsafe.values()):
            lines.append(f"weights = {list(profile.unsafe.values())}")
        lines += [f"{key} = {_list(found)}" for key in ("passes", "speakers") if (found := getattr(task.asked, key))]
        pieces = ",\n".join(f"    {_piece(piece, tokens)}" for piece in task.template)
        lines += [f"template = [\n{pieces},\n]", "threshold = 0.5"]
    lines += ["", "[golden]", f"tolerance = {TOLERANCE[str(layout.activations)]}"]
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    return text


def digest(path: Path) -> str:
    with path.open("rb") as file:
        found = hashlib.sha256()
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _piece(piece: Piece, tokens: dict[str, int]) -> str:
    if "ids" in piece:
        return f"{{ ids = {piece['ids']} }}"
    if "text" in piece:
        return f"{{ text = {_text(piece['text'])} }}"
    longest = f", max = {tokens['prompt']}" if piece["slot"] == "prompt" else ""
    trim = f', trim = "{piece["trim"]}"' if "trim" in piece else ""
    return f'{{ slot = "{piece["slot"]}"{longest}{trim} }}'


def _list(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    """JSON's strings are TOML's, once DEL is escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
