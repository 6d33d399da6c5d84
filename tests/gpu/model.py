"""The model that is measured: random weights of a given shape in the Hugging Face layout, and its exported guard."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from export import architecture, graph
from export.checkpoint import Checkpoint
from export.layout import TYPES, Layout
from export.words import Words
from safetensors.torch import save_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from machine import GIGA, Machine, Stopped

SHAPES = Path(__file__).with_name("shapes")
TOKENIZER = Path(__file__).parents[1] / "export" / "fixtures" / "gemma3" / "tokenizer.json"
SEED = 20261125
# SEA-Guard's trained length, for which the guard has tables of angles.
POSITIONS = 8192
# The weights' checksum: with it, a manifest needs no second look at them.
DIGEST = "weights.sha256"
# Bytes that a parameter takes in a guard.
BYTES = {"fp32": 4.0, "bf16": 2.0, "int4": 0.7}


@dataclass(frozen=True)
class Model:
    """Where the model and its guards lie, and what it is. `operations` are those of one token without the head."""

    folder: Path
    config: Gemma3TextConfig
    labels: list[int]
    parameters: int
    operations: int

    @property
    def checkpoint(self) -> Path:
        return self.folder / "model"

    def guard(self, dtype: str) -> Path:
        return self.folder / f"guard-{dtype}"

    def facts(self) -> dict:
        return {
            "layers": self.config.num_hidden_layers,
            "vocabulary": self.config.vocab_size,
            "parameters": self.parameters,
            "operations_a_token": self.operations,
        }


def planned(folder: Path, shape: str, layers: int | None, vocabulary: int | None) -> Model:
    """The model of `shapes/` with so many layers and rows of vocabulary, built or not, in a folder of its own."""
    values = json.loads((SHAPES / f"{shape}.json").read_text())
    values |= {"num_hidden_layers": layers} if layers else {}
    values |= {"vocab_size": vocabulary} if vocabulary else {}
    config = Gemma3TextConfig(**values, architectures=["Gemma3ForCausalLM"], dtype="bfloat16")
    words = Words(TOKENIZER)
    if config.vocab_size < words.tokenizer.get_vocab_size():
        raise Stopped(f"the tokenizer needs {words.tokenizer.get_vocab_size()} rows: raise --vocabulary")
    shapes = {name: weight.shape for name, weight in _named(config).items()}
    return Model(
        folder / f"{shape}-{config.num_hidden_layers}-layers-{config.vocab_size}-rows",
        config,
        [words.label(label) for label in ("safe", "unsafe")],
        sum(shape.numel() for shape in shapes.values()),
        2 * sum(shape.numel() for name, shape in shapes.items() if name.endswith("_proj.weight")),
    )


def build(model: Model, machine: Machine, dtype: str) -> dict[str, float]:
    """Makes what is missing of the model and its guard; seconds that each took, and the weights' bytes."""
    done = {}
    guard = model.guard(dtype)
    missing = (0 if model.checkpoint.exists() else 2) + (0 if guard.exists() else BYTES[dtype])
    _room(model.folder, missing * model.parameters)
    if not model.checkpoint.exists():
        done["generated_s"] = _generate(model, machine.device)
    if not guard.exists():
        done["exported_s"] = _export(model, guard, machine, dtype)
    return done | {"weights_bytes": (guard / "weights.bin").stat().st_size}


def _named(config: Gemma3TextConfig) -> dict[str, torch.Tensor]:
    """The parameters as `transformers` names them, without their values."""
    with torch.device("meta"):
        return dict(Gemma3ForCausalLM(config).named_parameters())


def _generate(model: Model, device: str) -> float:
    """Writes the model, a file for each layer: weights with which attention and norms matter, as in tests/export."""
    started = time.perf_counter()
    partial = model.checkpoint.with_name("model.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = defaultdict(list)
    for name, weight in _named(model.config).items():
        layer = name.split(".")[2] if ".layers." in name else "rest"
        files[f"model-{layer}.safetensors"].append((name, weight.shape))
    generator = torch.Generator(device).manual_seed(SEED)
    for file, tensors in files.items():
        made = {name: _random(name, shape, generator).cpu() for name, shape in tensors}
        save_file(made, partial / file, metadata={"format": "pt"})
    places = {name: file for file, tensors in files.items() for name, _ in tensors}
    index = {"metadata": {"total_size": 2 * model.parameters}, "weight_map": places}
    (partial / "model.safetensors.index.json").write_text(json.dumps(index))
    model.config.save_pretrained(partial)
    shutil.copyfile(TOKENIZER, partial / "tokenizer.json")
    partial.rename(model.checkpoint)
    return time.perf_counter() - started


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    made = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.bfloat16)
    # Norms multiply with 1 + weight; embeddings are multiplied by the root of the hidden size.
    return made.mul_(0.2 if len(shape) == 1 else shape[-1] ** -0.5)


def layout(model: Model, machine: Machine, dtype: str) -> Layout:
    """How the model lies in a guard; nothing is read or written yet."""
    checkpoint = Checkpoint(model.checkpoint)
    decoder = architecture.read(checkpoint, architecture.KNOWN)
    return Layout(checkpoint, decoder, dtype, TYPES["bf16" if machine.gpu else "fp32"], model.labels, POSITIONS)


def _export(model: Model, guard: Path, machine: Machine, dtype: str) -> float:
    """The exporter's graphs and weights, without golden scores: its reference in numpy would take minutes at 12B."""
    started = time.perf_counter()
    laid = layout(model, machine, dtype)
    graphs = {"prefill.onnx": graph.prefill(laid), "incremental.onnx": graph.incremental(laid)}
    # What a run that was cut short has written is kept.
    partial = guard.with_name(f"{guard.name}.partial")
    partial.mkdir(exist_ok=True)
    digest = laid.weights.write(partial, laid.checkpoint.identity(), lambda done: None)
    (partial / DIGEST).write_text(digest)
    for name, proto in graphs.items():
        (partial / name).write_bytes(proto.SerializeToString())
    partial.rename(guard)
    return time.perf_counter() - started


def _room(folder: Path, needed: float) -> None:
    """Refuses to begin what the disk cannot hold; what a run that was cut short has left counts."""
    folder.mkdir(parents=True, exist_ok=True)
    left = sum(path.stat().st_size for path in folder.glob("*.partial/*"))
    free = shutil.disk_usage(folder).free + left
    if free < needed:
        raise Stopped(
            f"{folder} has {free / GIGA:.1f} GB free and {needed / GIGA:.1f} GB more are needed: choose another "
            "--folder (one in memory will do), or fewer --layers or rows of --vocabulary"
        )
