"""The compose file, read by an implementation of its specification."""

import re
import subprocess

import yaml
from compose_spec import PyCompose
from conftest import DEPLOY, bare_environment

FILE = DEPLOY / "compose" / "compose.yaml"


def filled() -> str:
    """With every variable that has no default set to a word."""
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "word", FILE.read_text())
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_it_is_what_the_specification_says():
    compose = PyCompose.from_yaml(filled())
    compose.validate()
    assert sorted(compose.service_names()) == ["postgres", "seawall", "valkey"]


def test_no_secret_has_a_default():
    variables = re.findall(r"\$\{(\w+)([^}]*)\}", FILE.read_text())
    assert {name for name, default in variables if not default.startswith(":?")} == {"POLICIES"}


def test_the_program_may_write_to_its_volume_only():
    service = yaml.safe_load(FILE.read_text())["services"]["seawall"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["/var/lib/seawall"]
    assert [port["target"] for port in service["ports"] if port.get("host_ip") != "127.0.0.1"] == [8080]


def test_the_program_knows_its_settings(installed, tmp_path):
    service = yaml.safe_load(filled())["services"]["seawall"]
    environment = bare_environment() | service["environment"]
    info = [installed / "bin/seawall", "guard", "info"]
    done = subprocess.run(info, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
