"""What the tests share: a KServe server of other people's making, which runs a guard's graph."""

import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "sdk"))

from servers import Program, free_ports  # noqa: E402  the programs of tests are started in one way

GUARD = ROOT / "onnx" / "guards" / "seawall-mini"
DECODER = ROOT / "tests" / "fixtures" / "decoder"


class MlServer(Program):
    """MLServer with one model, `guard`, over HTTP and gRPC."""

    def __init__(self, folder: Path, graph: Path):
        http, grpc, metrics = free_ports(3)
        settings = {
            "host": "127.0.0.1",
            "http_port": http,
            "grpc_port": grpc,
            "metrics_port": metrics,
            "parallel_workers": 0,
            "debug": False,
        }
        parameters = {"uri": str(graph)}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(
            json.dumps({"name": "guard", "implementation": "graph.Graph", "parameters": parameters})
        )
        (folder / "graph.py").write_text((HERE / "graph.py").read_text())
        super().__init__([Path(sys.executable).parent / "mlserver", "start", folder], folder, "Loaded model 'guard'")
        self.http, self.grpc = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}"


@pytest.fixture(scope="session")
def mlserver(tmp_path_factory):
    with MlServer(tmp_path_factory.mktemp("mlserver"), GUARD / "model.int8.onnx") as server:
        yield server


@pytest.fixture(scope="session")
def decoder_server(tmp_path_factory):
    with MlServer(tmp_path_factory.mktemp("decoder"), DECODER / "prefill.onnx") as server:
        yield server
