"""The tiny models of tests/export on the provider, against the logits that `transformers` computed in float32.

Around the sliding window and far beyond it, in one ragged batch, and from pasts that are split, cut back, and kept in
buffers longer than used.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from export import architecture, graph, reference
from export.checkpoint import Checkpoint
from export.layout import TYPES, Layout

from machine import Machine
from ours import Incremental, Past, Prefill
from workloads import padded

FIXTURES = Path(__file__).parents[1] / "export" / "fixtures"
MODELS = ("gemma3", "llama", "qwen3")
POSITIONS = 512
# Labels' logits may differ so much on average and at most. `transformers` itself, in bfloat16 on a CPU, is off by up to
# 0.017 and 0.054 on these models; a sliding window that is one token too short or long by 0.074 and 0.287.
TOLERANCE = {"cpu": (1e-5, 1e-4), "cuda": (0.03, 0.1)}
BUFFERS = (0, 40, 512)


def check(machine: Machine, dtype: str, scratch: Path) -> dict:
    """Differences of each model's logits, and whether they are all within the tolerance."""
    mean, most = TOLERANCE[machine.device]
    models = {name: _model(name, machine, dtype, scratch / name) for name in MODELS}
    within = all(
        found["mean"] <= mean and found["most"] <= most
        for model in models.values()
        for found in (model["prefill"], model["incremental"])
    )
    return {"passed": within, "tolerance": {"mean": mean, "most": most}, "models": models}


def _model(name: str, machine: Machine, dtype: str, folder: Path) -> dict:
    vectors = json.loads((FIXTURES / name / "vectors.json").read_text())
    sequences = [case["ids"] for case in vectors["cases"]]
    layout = _export(FIXTURES / name, machine, dtype, vectors["labels"], folder)
    wanted = np.array([case["logits"] for case in vectors["cases"]])
    if dtype == "int4":
        # What is rounded is another model: the reference computes with the same rounded weights.
        wanted = reference.logits(layout.decoder, layout.stored, layout.embeddings, sequences)
    prefill = Prefill(folder / "prefill.onnx", machine, profiled=True)
    alone = np.concatenate([prefill(*padded([ids])) for ids in sequences])
    batched = prefill(*padded(sequences))
    return {
        "prefill": _gap(np.stack([alone, batched]), wanted),
        "elsewhere": prefill.elsewhere(),
        "incremental": _gap(_continued(Incremental(folder / "incremental.onnx", machine), sequences), wanted),
    }


def _export(model: Path, machine: Machine, dtype: str, labels: list[int], folder: Path) -> Layout:
    checkpoint = Checkpoint(model)
    decoder = architecture.read(checkpoint, architecture.KNOWN)
    activations = TYPES["bf16" if machine.gpu else "fp32"]
    layout = Layout(checkpoint, decoder, dtype, activations, labels, POSITIONS)
    folder.mkdir()
    for name, build in (("prefill", graph.prefill), ("incremental", graph.incremental)):
        (folder / f"{name}.onnx").write_bytes(build(layout).SerializeToString())
    layout.weights.write(folder, checkpoint.identity(), lambda done: None)
    return layout


def _continued(graph: Incremental, sequences: list[list[int]]) -> np.ndarray:
    """Each sequence's logits, its tokens fed in pieces with closing tokens fed and rolled back between, by buffer."""
    rng = np.random.default_rng(11)
    return np.array([[_fed(graph, ids, buffer, rng) for ids in sequences] for buffer in BUFFERS])


def _fed(graph: Incremental, ids: list[int], buffer: int, rng: np.random.Generator) -> np.ndarray:
    past = Past(graph, buffer)
    for tensor in past.tensors:
        # What lies beyond the tokens that count is ignored.
        tensor.fill_(3)
    graph.machine.finish()
    done, logits = 0, np.empty(0)
    while done < len(ids):
        take = int(rng.integers(1, len(ids) - done + 1))
        logits, past = graph(ids[done : done + take], done, past)
        done += take
        if done < len(ids) and rng.random() < 0.5:
            _, past = graph(rng.integers(12, 600, 9), done, past)
            done -= int(rng.integers(0, done))
    return logits


def _gap(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    gap = np.abs(found - wanted)
    # Whatever is no number is further off than any tolerance.
    gap = np.where(np.isfinite(gap), gap, np.finfo(np.float32).max)
    return {"mean": float(gap.mean()), "most": float(gap.max())}
