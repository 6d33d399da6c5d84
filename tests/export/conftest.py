"""What the tests share: the exporter on the path, the tiny models, and guards exported from them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "onnx"))

from export import architecture, graph  # noqa: E402
from export.checkpoint import Checkpoint  # noqa: E402
from export.layout import TYPES, Layout  # noqa: E402

FIXTURES = HERE / "fixtures"
TINY = str(HERE / "tiny.toml")
MODELS = ("gemma2", "gemma3", "llama", "qwen2", "qwen3", "qwen3_vl")


def vectors(model: str) -> dict:
    """Sequences of ids with the logits that transformers has for them."""
    return json.loads((FIXTURES / model / "vectors.json").read_text())


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Both graphs of a tiny model, by its name and dtype: their layout and their folder. Each is made once."""
    made = {}

    def export(model: str, dtype: str, block: int = 32, activations: str | None = None) -> tuple[Layout, Path]:
        key = (model, dtype, block, activations)
        if key not in made:
            checkpoint = Checkpoint(FIXTURES / model)
            decoder = architecture.read(checkpoint, architecture.KNOWN)
            types = TYPES[activations or ("bf16" if dtype == "bf16" else "fp32")]
            layout = Layout(checkpoint, decoder, dtype, types, vectors(model)["labels"], positions=512, block=block)
            folder = tmp_path_factory.mktemp(f"{model}-{dtype}")
            for name, build in (("prefill", graph.prefill), ("incremental", graph.incremental)):
                (folder / f"{name}.onnx").write_bytes(build(layout).SerializeToString())
            layout.weights.write(folder, checkpoint.identity(), lambda done: None)
            made[key] = (layout, folder)
        return made[key]

    return export


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def padded(sequences: list[list[int]], padding: int) -> dict[str, np.ndarray]:
    """The inputs of `prefill` for a ragged batch."""
    ids = np.full((len(sequences), max(map(len, sequences))), padding, np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return {"input_ids": ids, "lengths": np.array([len(sequence) for sequence in sequences])}


@pytest.fixture
def gemma(tmp_path):
    """A copy of the tiny Gemma model to spoil."""
    return shutil.copytree(FIXTURES / "gemma3", tmp_path / "model")


def edit(path: Path, change) -> None:
    """Rewrites a JSON file by a function on what it holds."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
