"""Runs a guard's graph on examples, directly on ONNX Runtime, for the recipe's own checks.

How good a guard is, `seawall eval` measures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from data import Example
from encode import PAD

COLUMN = {"prompt": 0, "response": 1}


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


def scored(model: onnxruntime.InferenceSession, examples: list[Example], batch: int = 16) -> np.ndarray:
    """P(unsafe) of each example for its own task."""
    out = np.empty(len(examples), np.float32)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].ids))
    for start in range(0, len(examples), batch):
        chosen = order[start : start + batch]
        (logits,) = model.run(["logits"], feed([examples[i].ids for i in chosen]))
        for row, index in enumerate(chosen):
            out[index] = 1 / (1 + np.exp(-logits[row, COLUMN[examples[index].task]]))
    return out
