"""python -m export.triton GUARD OUT [--name NAME] [--gpus N]

Writes a model repository for NVIDIA's Triton Inference Server from a guard's directory.

Triton runs the guard's graph (of a `decoder-label` guard the prefill graph) and nothing else; Seawall encodes the texts
and sends batches. So Triton is told no batch dimension of its own (`max_batch_size: 0`): its batcher cannot join rows
of different lengths, and Seawall has already joined those of like length. deploy/triton/README.md says how to start it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
import tomllib
from pathlib import Path

from .refused import Refused

# What a model may be called in Triton's own addresses.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def configuration(manifest: dict, name: str, gpus: int) -> str:
    """config.pbtxt: names and shapes as the manifest has them."""
    inputs = [(key, "[ -1 ]" if key == "lengths" else "[ -1, -1 ]") for key in manifest["inputs"]]
    tensors = [
        f'input [ {{ name: "{manifest["inputs"][key]}" data_type: TYPE_INT64 dims: {dims} }} ]' for key, dims in inputs
    ]
    where = f"kind: KIND_GPU count: 1 gpus: {list(range(gpus))}" if gpus else "kind: KIND_CPU count: 1"
    graph = Path(manifest["files"]["graph"]["path"]).name
    lines = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        "max_batch_size: 0",
        f'default_model_filename: "{graph}"',
        *tensors,
        f'output [ {{ name: "{manifest["output"]["name"]}" data_type: TYPE_FP32 dims: [ -1, -1 ] }} ]',
        f"instance_group [ {{ {where} }} ]",
    ]
    return "\n".join(lines) + "\n"


def checked(guard: Path, file: dict) -> Path:
    """The file, if it is the one that the manifest means."""
    path = guard / file["path"]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file["sha256"]:
        wanted = file["sha256"]
        raise Refused(f"{path} has sha256 {found}, the manifest says {wanted}: export or fetch the guard again")
    return path


def write(guard: Path, out: Path, name: str | None = None, gpus: int = 0) -> Path:
    """Writes the repository's entry for a guard, whole or not at all, and returns its folder."""
    manifest = tomllib.loads((guard / "guard.toml").read_text(encoding="utf-8"))
    name = name or manifest["name"]
    if not NAME.fullmatch(name):
        raise Refused(f"`{name}` is no model's name: letters, digits, `.`, `_` and `-`; choose one with --name")
    folder = out / name
    if folder.exists():
        raise Refused(f"{folder} is there already: remove it, or choose another --name")
    files = [checked(guard, manifest["files"][key]) for key in ("graph", "weights") if key in manifest["files"]]
    unfinished = out / f".{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    version = unfinished / "1"
    version.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, version / file.name)
    (unfinished / "config.pbtxt").write_text(configuration(manifest, name, gpus), encoding="utf-8")
    unfinished.rename(folder)
    return folder


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m export.triton", description="Writes a Triton model repository from a guard's directory."
    )
    parser.add_argument("guard", type=Path, help="the guard's directory, with its guard.toml")
    parser.add_argument("out", type=Path, help="the model repository; it is made if need be")
    parser.add_argument("--name", help="the model's name there; the guard's own if left out")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to run on, one instance each; 0 for the processor")
    options = parser.parse_args(argv)
    try:
        folder = write(options.guard, options.out, options.name, options.gpus)
    except KeyError as error:
        sys.exit(f"export.triton: {options.guard / 'guard.toml'} has no {error}")
    except (Refused, OSError, ValueError) as error:
        sys.exit(f"export.triton: {error}")
    print(f'written to {folder}: point [guard.remote] at Triton with model = "{folder.name}"')


if __name__ == "__main__":
    main()
