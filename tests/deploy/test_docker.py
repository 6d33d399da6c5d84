"""The image, as far as it can be looked at without making it."""

import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import DEPLOY, ROOT

DOCKER = DEPLOY / "docker"
HADOLINT = Path(sys.executable).parent / "hadolint"


def hadolint(path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([HADOLINT, path], capture_output=True, text=True)


def test_the_dockerfile_is_clean(tmp_path):
    assert (done := hadolint(DOCKER / "Dockerfile")).returncode == 0, done.stdout
    worse = tmp_path / "Dockerfile"
    worse.write_text((DOCKER / "Dockerfile").read_text().replace("--no-install-recommends ", ""))
    assert "DL3015" in hadolint(worse).stdout


def test_it_does_not_run_as_root():
    last_stage = (DOCKER / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last_stage, re.MULTILINE) == ["65532:65532"]


def test_what_the_image_is_built_of_suffices(tmp_path):
    patterns = re.findall(r"^!(.+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    for pattern in patterns:
        found = list(ROOT.glob(pattern))
        assert found, pattern
        for path in found:
            to = tmp_path / path.relative_to(ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, to)
    read = ["cargo", "metadata", "--offline", "--locked", "--no-deps", "--format-version=1"]
    subprocess.run(read, cwd=tmp_path, check=True, capture_output=True)
    plan = subprocess.run(
        ["make", "-n", "install", "ORT=gpu", "DESTDIR=/out"], cwd=tmp_path, capture_output=True, text=True
    )
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("cargo build --profile dist") == 2 and "llvm-bolt" in plan.stdout
    assert "onnxruntime-gpu==" in plan.stdout
    for source in re.findall(r"COPY (?:--chmod=\S+ )?(\w\S+) /", (DOCKER / "Dockerfile").read_text()):
        assert (tmp_path / source).exists(), source


class Admin(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_the_admin_listener(status, code):
    with HTTPServer(("127.0.0.1", 0), type("Admin", (Admin,), {"status": status})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {**os.environ, "SEAWALL_ADMIN__ADDRESS": f"0.0.0.0:{server.server_port}"}
        assert subprocess.run([DOCKER / "healthcheck"], env=environment).returncode == code
        server.shutdown()
    assert subprocess.run([DOCKER / "healthcheck"], env=environment, capture_output=True).returncode == 1, (
        "it has ended"
    )
