"""What the tests share: the program, installed as the tarball and the images have it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(HERE.parent / "sdk"))

from servers import clean_environment, seawall_binary  # noqa: E402  the program is found in one way


def bare_environment() -> dict[str, str]:
    """Nothing tells a program where its things are."""
    return {key: value for key, value in clean_environment().items() if key != "ORT_DYLIB_PATH"}


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """The folder that it is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    # A make that runs these tests has flags of its own.
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "--silent", "install", f"PREFIX={folder}", f"DIST_BINARY={seawall_binary()}"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder
