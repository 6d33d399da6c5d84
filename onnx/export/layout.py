"""How a decoder's weights are stored: which tensor of the checkpoint becomes which tensors of the file."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from .architecture import EMBEDDING, Decoder, tensors
from .checkpoint import Checkpoint
from .quantise import Blocks, quantise
from .weights import Entry, Weights

FLOAT = np.dtype(np.float32)
BFLOAT = np.dtype(ml_dtypes.bfloat16)
TYPES = {"fp32": FLOAT, "bf16": BFLOAT}


class Layout:
    """The weights of a decoder, as planned for both graphs and as these compute with them.

    `dtype` is fp32, bf16 or int4, `activations` float32 or bfloat16, `block` the inputs that share a scale in int4,
    `labels` the ids of the label tokens, `positions` the longest sequence.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        decoder: Decoder,
        dtype: str,
        activations: np.dtype,
        labels: list[int],
        positions: int,
        block: int = 32,
    ):
        self.checkpoint, self.decoder = checkpoint, decoder
        self.dtype, self.activations, self.block = dtype, activations, block
        self.labels, self.positions = labels, positions
        self.shapes = tensors(decoder)
        self.weights = Weights()
        self._held: tuple[str, Blocks] | None = None

    def quantised(self, name: str) -> bool:
        return self.dtype == "int4" and name.endswith("_proj.weight")

    def entry(self, name: str) -> Entry:
        """Plans the tensor `name` of a graph."""
        dtype, shape, make = self._planned(name)
        return self.weights.add(name, dtype, shape, make)

    def _planned(self, name: str):
        if name == "labels":
            shape = (self.decoder.hidden, len(self.labels))
            return FLOAT, shape, lambda: iter([self.label_rows().T])
        if name.startswith("rope."):
            _, rope, part = name.split(".")
            shape = (self.positions, self.decoder.head_dim // 2)
            return self.activations, shape, lambda: iter([self._rope(rope, part)])
        if name == EMBEDDING:
            dtype = self._embedding_type()
            pieces = self.checkpoint.pieces
            source = self.decoder.prefix + name
            return dtype, self.shapes[name], lambda: (piece.astype(dtype) for piece in pieces(source))
        if name.endswith(".bias"):
            return self.activations, self.shapes[name], lambda: iter([self.source(name).astype(self.activations)])
        if name in self.shapes and len(self.shapes[name]) == 1:
            return FLOAT, self.shapes[name], lambda: iter([self.norm(name)])
        if name in self.shapes:
            dtype = TYPES[self.dtype]
            return dtype, self.shapes[name][::-1], lambda: iter([self.source(name).astype(dtype).T])
        matrix, part = name.rsplit(".", 1)
        return *self._blocks_planned(matrix, part), lambda: iter([getattr(self._blocks(matrix), part)])

    def _embedding_type(self) -> np.dtype:
        """bfloat16 unless that would lose anything of an fp32 export."""
        source = self.checkpoint.dtypes[self.decoder.prefix + EMBEDDING]
        return FLOAT if self.dtype == "fp32" and source != BFLOAT else BFLOAT

    def _blocks_planned(self, matrix: str, part: str) -> tuple[np.dtype, tuple[int, ...]]:
        outputs, inputs = self.shapes[matrix]
        blocks = -(-inputs // self.block)
        match part:
            case "codes":
                return np.dtype(np.uint8), (outputs, blocks, self.block // 2)
            case "scales":
                return self.activations, (outputs, blocks)
            case _:
                return np.dtype(np.uint8), (outputs, -(-blocks // 2))

    def _blocks(self, matrix: str) -> Blocks:
        """Codes, scales and zero points are asked for one after another: only the last matrix is held."""
        if self._held is None or self._held[0] != matrix:
            self._held = (matrix, quantise(self.source(matrix).astype(np.float32), self.block, self.activations))
        return self._held[1]

    def _rope(self, rope: str, part: str) -> np.ndarray:
        cos, sin = self.decoder.ropes[rope].tables(self.positions)
        return (cos if part == "cos" else sin).astype(self.activations)

    def source(self, name: str) -> np.ndarray:
        """A tensor as the checkpoint has it."""
        return self.checkpoint.read(self.decoder.prefix + name)

    def original(self, name: str) -> np.ndarray:
        """A tensor of the reference as the checkpoint has it, float32."""
        return self.label_rows() if name == "labels" else self.source(name).astype(np.float32)

    def stored(self, name: str) -> np.ndarray:
        """A tensor of the reference as the graphs compute with it, float32."""
        if self.quantised(name):
            return self._blocks(name).restored(self.shapes[name][1])
        if name.endswith("_proj.weight"):
            return self.original(name).astype(TYPES[self.dtype]).astype(np.float32)
        return self.original(name)

    def embeddings(self, ids: list[int]) -> np.ndarray:
        rows = self.checkpoint.rows(self.decoder.prefix + EMBEDDING, ids)
        return rows.astype(self._embedding_type()).astype(np.float32)

    def norm(self, name: str) -> np.ndarray:
        """What a norm multiplies with, float32."""
        return self.source(name).astype(np.float32) + np.float32(self.decoder.norm_offset)

    def label_rows(self) -> np.ndarray:
        """The head's rows of the label tokens, float32 [labels, hidden]."""
        return self.checkpoint.rows(self.decoder.head, self.labels)
