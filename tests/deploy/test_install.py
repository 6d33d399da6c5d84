"""An installed program finds what came with it, and is told of in one version."""

import hashlib
import json
import subprocess
import tomllib

import yaml
from conftest import DEPLOY, ROOT, bare_environment
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def test_it_finds_its_guard_and_runtime_from_anywhere(installed, tmp_path):
    command = [installed / "bin/seawall", "guard", "verify"]
    done = subprocess.run(command, cwd=tmp_path, env=bare_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(installed / "share/seawall/guards/seawall-mini") in done.stdout


def test_all_that_a_machine_looks_for_is_where_it_looks(installed):
    share = installed / "share"
    for path in [
        "man/man1/seawall.1",
        "man/man1/seawall-serve.1",
        "bash-completion/completions/seawall",
        "zsh/site-functions/_seawall",
        "fish/vendor_completions.d/seawall.fish",
        "seawall/policies/baseline.toml",
        "doc/seawall/LICENSE",
        "doc/seawall/seawall.toml",
        "../lib/systemd/system/seawall.service",
    ]:
        assert (share / path).stat().st_size > 0, path
    shipped = {path.name for path in (share / "seawall/policies").iterdir()}
    assert shipped == {path.name for path in (ROOT / "policies").iterdir()}


def test_one_version_is_told_everywhere(installed):
    chart = yaml.safe_load((DEPLOY / "helm/seawall/Chart.yaml").read_text())
    said = subprocess.run([installed / "bin/seawall", "--version"], capture_output=True, text=True).stdout
    assert (chart["version"], chart["appVersion"], said) == (VERSION, VERSION, f"seawall {VERSION}\n")


def test_the_bill_of_materials_names_all_that_ships(installed):
    text = (installed / "share/doc/seawall/sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    named = {component["name"]: component for component in bill["components"]}
    assert bill["metadata"]["component"]["version"] == VERSION
    assert {"hyper", "onnxruntime", "ring", "rustls", "seawall-mini", "tokenizers"} <= named.keys()
    assert not {"insta", "serde_derive", "tempfile"} & named.keys(), "what only tests and builds need is not shipped"
    assert all(component["hashes"] for name, component in named.items() if name != "seawall-mini")

    files = {file["name"]: file["hashes"][0]["content"] for file in named["seawall-mini"]["components"]}
    graph = installed / "share/seawall/guards/seawall-mini/model.int8.onnx"
    assert files[graph.name] == hashlib.sha256(graph.read_bytes()).hexdigest()

    known = {component["bom-ref"] for component in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert {one for edge in bill["dependencies"] for one in [edge["ref"], *edge["dependsOn"]]} <= known
