"""The file of weights that both graphs read: planned first, then written tensor by tensor, resumed when cut short."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

FILE = "weights.bin"
JOURNAL = "weights.journal"
# Large tensors begin with a page, so that they can be mapped; small ones only fit the widest vector loads.
PAGE, VECTOR = 4096, 64
CHUNK = 16 << 20


@dataclass(frozen=True)
class Entry:
    """A tensor of the file. `make` computes it, in pieces along its first axis."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    make: Callable[[], Iterator[np.ndarray]]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def initializer(self) -> TensorProto:
        """The tensor as a graph names it, its bytes elsewhere."""
        tensor = TensorProto(name=self.name, dims=self.shape, data_type=helper.np_dtype_to_tensor_dtype(self.dtype))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", FILE), ("offset", self.offset), ("length", self.size)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor


class Weights:
    """The tensors of all graphs, each once, in the order in which they were asked for."""

    def __init__(self):
        self.entries: dict[str, Entry] = {}
        self.size = 0

    def add(
        self, name: str, dtype: np.dtype, shape: tuple[int, ...], make: Callable[[], Iterator[np.ndarray]]
    ) -> Entry:
        if name not in self.entries:
            dtype = np.dtype(dtype)
            large = int(np.prod(shape)) * dtype.itemsize >= PAGE
            unit = PAGE if large else VECTOR
            self.entries[name] = Entry(name, dtype, shape, -(-self.size // unit) * unit, make)
            self.size = self.entries[name].offset + self.entries[name].size
        return self.entries[name]

    def write(self, folder: Path, identity: object, progress: Callable[[int], None]) -> str:
        """Writes the file into `folder` and returns its SHA-256; `progress` hears of the bytes that are done.

        What an earlier run wrote for the same plan and source (`identity`) is kept as far as its checksums fit.
        """
        path, journal = folder / FILE, folder / JOURNAL
        plan = [[entry.name, str(entry.dtype), entry.shape, entry.offset] for entry in self.entries.values()]
        digest = hashlib.sha256(json.dumps([identity, plan]).encode()).hexdigest()
        kept, whole = self._kept(path, _read(journal, digest))
        entries = list(self.entries.values())
        end = entries[len(kept) - 1].offset + entries[len(kept) - 1].size if kept else 0
        journal.write_text("".join(f"{line}\n" for line in [digest, *kept]))
        path.touch()
        with path.open("r+b") as file, journal.open("a") as log:
            file.truncate(end)
            file.seek(end)
            for entry in entries[len(kept) :]:
                own = hashlib.sha256()
                gap = bytes(entry.offset - file.tell())
                file.write(gap)
                whole.update(gap)
                for piece in _typed(entry):
                    file.write(piece)
                    own.update(piece)
                    whole.update(piece)
                file.flush()
                log.write(f"{own.hexdigest()}\n")
                log.flush()
                progress(entry.offset + entry.size)
        return whole.hexdigest()

    def _kept(self, path: Path, recorded: list[str]) -> tuple[list[str], hashlib._Hash]:
        """The recorded checksums that still fit the file, and the hash of the file up to there."""
        kept: list[str] = []
        whole = hashlib.sha256()
        if not path.exists():
            return kept, whole
        with path.open("rb") as file:
            for entry, checksum in zip(self.entries.values(), recorded, strict=False):
                grown, own, left = whole.copy(), hashlib.sha256(), entry.size
                grown.update(file.read(entry.offset - file.tell()))
                while left and (chunk := file.read(min(left, CHUNK))):
                    own.update(chunk)
                    grown.update(chunk)
                    left -= len(chunk)
                if left or own.hexdigest() != checksum:
                    break
                kept.append(checksum)
                whole = grown
        return kept, whole


def _read(journal: Path, digest: str) -> list[str]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return lines[1:] if lines[:1] == [digest] else []


def _typed(entry: Entry) -> Iterator[memoryview]:
    """The tensor's bytes; a piece of another size or type than planned would shift all that follows."""
    done = 0
    for piece in entry.make():
        if piece.dtype != entry.dtype:
            raise TypeError(f"{entry.name} is planned as {entry.dtype} and made as {piece.dtype}")
        done += piece.nbytes
        yield np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
    if done != entry.size:
        raise ValueError(f"{entry.name} is planned with {entry.size} bytes and made with {done}")
