"""A model's folder in the Hugging Face layout: its configuration and its tensors, read one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from .refused import Refused

DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
# A vocabulary's embedding is read in pieces of this many bytes, so that it needs no more memory than a layer.
PIECE = 256 << 20


class Checkpoint:
    """Tensors by name. Only headers are read until a tensor is asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = read_json(folder / "config.json")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, np.dtype] = {}
        self._shards: dict[str, Path] = {}
        self._open: tuple[Path, object] | None = None
        for shard in self._files():
            self._headers(shard)

    def _files(self) -> list[Path]:
        index = self.folder / "model.safetensors.index.json"
        if not index.exists():
            return [self.folder / "model.safetensors"]
        return [self.folder / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]

    def _headers(self, shard: Path) -> None:
        file = self._file(shard)
        for name in list(file.keys()):
            part = file.get_slice(name)
            if part.get_dtype() in DTYPES:
                self.dtypes[name] = DTYPES[part.get_dtype()]
            self.shapes[name] = tuple(part.get_shape())
            self._shards[name] = shard

    def _file(self, shard: Path):
        if self._open is None or self._open[0] != shard:
            try:
                self._open = (shard, safe_open(shard, framework="np"))
            except (OSError, SafetensorError) as error:
                raise Refused(f"{shard}: {error}; fetch the model again, as safetensors") from error
        return self._open[1]

    def check(self, name: str, shape: tuple[int, ...]) -> np.dtype:
        """The tensor's type, once it is known to be there and to have this shape."""
        if name not in self.shapes:
            raise Refused(f"{self.folder} has no tensor {name}: fetch the model again, all its shards included")
        if self.shapes[name] != shape:
            raise Refused(f"{name} has shape {self.shapes[name]}, by config.json {shape}: they do not belong together")
        if name not in self.dtypes:
            raise Refused(f"{name} is neither float32, float16 nor bfloat16: take the model's unquantised weights")
        return self.dtypes[name]

    def read(self, name: str) -> np.ndarray:
        return self._file(self._shards[name]).get_tensor(name)

    def rows(self, name: str, rows: list[int]) -> np.ndarray:
        """Some rows of a matrix, in float32."""
        part = self._file(self._shards[name]).get_slice(name)
        return np.concatenate([part[row : row + 1] for row in rows]).astype(np.float32)

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """A matrix in groups of rows."""
        rows, *rest = self.shapes[name]
        step = max(1, PIECE // (int(np.prod(rest)) * self.dtypes[name].itemsize))
        for start in range(0, rows, step):
            yield self._file(self._shards[name]).get_slice(name)[start : min(start + step, rows)]

    def identity(self) -> list:
        """What tells this checkpoint from another one: its configuration, and its shards, even if fetched again."""
        stats = [(shard.name, shard.stat()) for shard in sorted(set(self._shards.values()))]
        return [self.config, *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read {path}: {error}; is this a model's folder as Hugging Face has it?") from error
