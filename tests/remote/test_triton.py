"""The model repository for Triton: files where it looks for them, and a configuration that its own parser reads."""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import GUARD, ROOT
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


def write(guard: Path, out: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "export.triton", guard, out, *arguments]
    return subprocess.run(list(map(str, command)), cwd=ROOT / "onnx", capture_output=True, text=True, timeout=60)


def read(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_the_embedded_guards_repository(tmp_path):
    done = write(GUARD, tmp_path / "models")
    assert done.returncode == 0, done.stderr
    config = read(tmp_path / "models" / "seawall-mini" / "config.pbtxt")
    manifest = tomllib.loads((GUARD / "guard.toml").read_text())
    graph = tmp_path / "models" / "seawall-mini" / "1" / config.default_model_filename
    assert hashlib.sha256(graph.read_bytes()).hexdigest() == manifest["files"]["graph"]["sha256"]
    assert [tensor.name for tensor in config.input] == [manifest["inputs"]["ids"], manifest["inputs"]["mask"]]
    assert all(list(tensor.dims) == [-1, -1] for tensor in config.input)
    assert (config.output[0].name, config.max_batch_size) == (manifest["output"]["name"], 0)


@pytest.fixture
def decoder(tmp_path):
    """A guard of the kind `decoder-label`, its weights beside the graph."""
    folder = tmp_path / "guard"
    folder.mkdir()
    files = {"graph": "prefill.onnx", "incremental": "incremental.onnx", "weights": "weights.bin"}
    lines = ['name = "sea guard"', 'kind = "decoder-label"', "[files]"]
    for key, name in files.items():
        (folder / name).write_bytes(name.encode())
        lines.append(f'{key} = {{ path = "{name}", sha256 = "{hashlib.sha256(name.encode()).hexdigest()}" }}')
    lines += ["[inputs]", 'ids = "input_ids"', 'lengths = "lengths"', "[output]", 'name = "label_logits"']
    (folder / "guard.toml").write_text("\n".join(lines))
    return folder


def test_a_decoders_weights_go_with_its_prefill_graph(decoder, tmp_path):
    done = write(decoder, tmp_path / "models", "--name", "sea-guard", "--gpus", "2")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "models" / "sea-guard"
    assert sorted(path.name for path in (folder / "1").iterdir()) == ["prefill.onnx", "weights.bin"]
    config = read(folder / "config.pbtxt")
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("input_ids", [-1, -1]), ("lengths", [-1])]
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert list(config.instance_group[0].gpus) == [0, 1]


def test_a_damaged_file_or_a_used_place_is_refused(decoder, tmp_path):
    unnamed = write(decoder, tmp_path / "models")
    assert unnamed.returncode == 1 and "is no model's name" in unnamed.stderr
    assert write(decoder, tmp_path / "models", "--name", "a").returncode == 0
    again = write(decoder, tmp_path / "models", "--name", "a")
    assert again.returncode == 1 and "is there already" in again.stderr
    (decoder / "weights.bin").write_bytes(b"other")
    damaged = write(decoder, tmp_path / "models", "--name", "b")
    assert damaged.returncode == 1 and "sha256" in damaged.stderr and not (tmp_path / "models" / "b").exists()
