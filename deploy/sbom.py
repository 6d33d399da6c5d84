"""Prints what is built in or shipped beside the program, as a software bill of materials (CycloneDX 1.6, JSON).

usage: sbom.py --runtime PACKAGE VERSION SHA256 [--target TRIPLE]
"""

import argparse
import hashlib
import json
import platform
import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "onnx" / "guards" / "seawall-mini"


def crates(target: str) -> tuple[dict, list[dict], list[dict]]:
    """The program itself, the crates that are linked into it, and who depends on whom."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}

    def is_linked(dependency: dict) -> bool:
        """Neither what only tests need nor what only builds need is shipped."""
        kinds = {kind for target in packages[dependency["pkg"]]["targets"] for kind in target["kind"]}
        return "proc-macro" not in kinds and any(kind["kind"] is None for kind in dependency["dep_kinds"])

    needs = {
        node["id"]: [dependency["pkg"] for dependency in node["deps"] if is_linked(dependency)]
        for node in metadata["resolve"]["nodes"]
    }
    root = metadata["resolve"]["root"]
    shipped, waiting = {root}, [root]
    while waiting:
        new = [one for one in needs[waiting.pop()] if one not in shipped]
        shipped.update(new)
        waiting += new
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in locked}

    def component(package: dict) -> dict:
        name, version = package["name"], package["version"]
        made = {"type": "library", "bom-ref": purl(package), "name": name, "version": version, "purl": purl(package)}
        if checksum := checksums[name, version]:
            made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if licence := package["license"]:
            # Cargo's older way to write a choice.
            made["licenses"] = [{"expression": re.sub(" */ *", " OR ", licence)}]
        return made

    def purl(package: dict) -> str:
        return f"pkg:cargo/{package['name']}@{quote(package['version'])}"

    order = sorted(shipped, key=lambda one: purl(packages[one]))
    whole = component(packages[root]) | {"type": "application"}
    edges = [
        {"ref": purl(packages[one]), "dependsOn": sorted({purl(packages[two]) for two in needs[one]})} for one in order
    ]
    return whole, [component(packages[one]) for one in order if one != root], edges


def runtime(package: str, version: str, sha256: str) -> dict:
    """ONNX Runtime, by the wheel that its library is taken from."""
    purl = f"pkg:pypi/{package}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "licenses": [{"license": {"id": "MIT"}}],
    }


def guard() -> dict:
    """The embedded guard, by the checksums of its files."""
    manifest = tomllib.loads((GUARD / "guard.toml").read_text())
    files = sorted(path for path in GUARD.iterdir() if path.is_file())
    return {
        "type": "machine-learning-model",
        "bom-ref": "guard",
        "name": manifest["name"],
        "version": manifest["version"],
        "licenses": [{"license": {"id": manifest["licence"]}}],
        "components": [
            {
                "type": "file",
                "name": path.name,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
            }
            for path in files
        ],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", nargs=3, metavar=("PACKAGE", "VERSION", "SHA256"), required=True)
    parser.add_argument("--target", default=f"{platform.machine()}-unknown-linux-gnu")
    arguments = parser.parse_args()
    whole, components, edges = crates(arguments.target)
    beside = [runtime(*arguments.runtime), guard()]
    for edge in edges:
        if edge["ref"] == whole["bom-ref"]:
            edge["dependsOn"] += [one["bom-ref"] for one in beside]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": components + beside,
        "dependencies": edges,
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
