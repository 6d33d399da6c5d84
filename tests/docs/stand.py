"""Where pages run: a folder, a shell with `seawall`, and ports and LLM servers in place of those that pages name."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import yaml
from page import ROOT, Block
from servers import clean_environment, free_ports, seawall_binary

HERE = Path(__file__).parent
# One page, at most; a debug build is slow on a busy machine.
PATIENCE_S = 300
# What two runs never have in common.
VARYING = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?")
# What pages leave out of settings, and a value of its form.
LEFT_OUT = {"sha256:…": f"sha256:{0:064}"}
KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "CO_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


@dataclass
class Step:
    """A command of a page, and what the page says that it prints."""

    block: Block
    code: str
    printed: str | None = None


class Stand:
    """A shell's environment for pages, and their Seawall, one at a time."""

    def __init__(self, folder: Path, upstreams: dict[str, str]):
        self.folder = folder
        listen, admin = free_ports(2)
        self.addresses = {"127.0.0.1:8080": f"127.0.0.1:{listen}", "127.0.0.1:8081": f"127.0.0.1:{admin}", **upstreams}
        self.environment = {
            **clean_environment(),
            **dict.fromkeys(KEYS, "none"),
            "AWS_DEFAULT_REGION": "us-east-1",
            "PATH": os.pathsep.join([str(HERE / "shims"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DOCS_ROOT": str(ROOT),
            "DOCS_SEAWALL": str(seawall_binary()),
            "DOCS_STAND": str(folder),
            "NO_PROXY": "127.0.0.1",
            "TMPDIR": str(folder),
            "SEAWALL_LISTEN__ADDRESS": self.addresses["127.0.0.1:8080"],
            "SEAWALL_ADMIN__ADDRESS": self.addresses["127.0.0.1:8081"],
        }

    def here(self, text: str) -> str:
        for named, ours in {**self.addresses, **LEFT_OUT}.items():
            text = text.replace(named, ours)
        return text

    def named(self, text: str) -> str:
        for named, ours in self.addresses.items():
            text = text.replace(ours, named)
        return text

    def run(self, blocks: list[Block], folder: Path):
        """Runs and checks a page's blocks in order; what the reader is told to keep in a file is kept in one."""
        for name, there in (("deploy", ROOT), ("node_modules", HERE), ("onnx", ROOT), ("policies", ROOT)):
            if not (folder / name).exists():
                (folder / name).symlink_to(there / name)
        steps: list[Step] = []
        for block in blocks:
            steps += self.steps(block, folder, steps)
        lines = ["set -euo pipefail"]
        for at, step in enumerate(steps):
            lines += [f"echo {at} >'{self.folder}/at'", "{", step.code, f"}} >'{self.folder}/{at}.out' 2>&1"]
        (self.folder / "at").unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)], cwd=folder, env=self.environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
        )  # fmt: skip
        reached = int((self.folder / "at").read_text()) if steps else -1
        for at, step in enumerate(steps[: reached + 1]):
            got = self.named((self.folder / f"{at}.out").read_text())
            failed = at == reached and done.returncode
            assert not failed, f"line {step.block.line} ended with {done.returncode}:\n{step.code}\n{got}{done.stderr}"
            if step.printed is not None:
                assert shows(step.printed, got), (
                    f"line {step.block.line}: the page shows\n{step.printed}\nand there came\n{got}"
                )

    def steps(self, block: Block, folder: Path, before: list[Step]) -> list[Step]:
        text, at = self.here(block.text), f"{self.folder}/{block.line}"
        keep = f'mkdir -p "$(dirname {block.file})"\ncp "{at}.kept" {block.file}\n' if block.file else ""
        if keep:
            Path(f"{at}.kept").write_text(text)
        match block.language:
            case "sh":
                return [Step(block, text)]
            case "console":
                return [Step(block, self.here(code), printed) for code, printed in session(block.text)]
            case "python" | "js":
                program = folder / f"line{block.line}.{'py' if block.language == 'python' else 'mjs'}"
                program.write_text(text)
                return [Step(block, f"{'python' if block.language == 'python' else 'node'} {program.name}")]
            case "toml":
                return [Step(block, keep + check_toml(text, folder / f"line{block.line}.toml"))]
            case "yaml":
                kind = yaml.safe_load(text)
                assert isinstance(kind, dict), f"line {block.line}: no mapping"
                Path(f"{at}.json").write_text(json.dumps(kind))
                check = f'node "{HERE}/librechat.mjs" "{at}.json"' if "custom" in kind.get("endpoints", {}) else ":"
                return [Step(block, keep + check)]
            case "json":
                json.loads(text)
            case "text":
                assert before, f"line {block.line}: no command stands before what was printed"
                assert before[-1].printed is None, f"line {block.line}: what was printed was shown already"
                before[-1].printed = block.text
            case "":
                pass
            case other:
                raise AssertionError(f"line {block.line}: nobody checks `{other}`")
        return [Step(block, keep)] if keep else []

    def stop(self):
        """Ends the pages' Seawall."""
        pid = self.folder / "pid"
        if pid.exists():
            subprocess.run(["kill", "-KILL", pid.read_text().strip()], capture_output=True, check=False)


def check_toml(text: str, path: Path) -> str:
    """The command that finds mistakes in settings, in a policy, or in the part of one that a page shows."""
    top = tomllib.loads(text)
    if "test" in top:
        # A policy's tests: they are tried where the page runs `seawall policy test`.
        return ":"
    policy = top.keys() & {"name", "rule", "detectors", "exempt", "scope"}
    if policy:
        text = text if "name" in top else f'name = "part"\n{text}'
        text = text if "rule" in top else f'{text}\n[[rule]]\nname = "any"\nwhere = ["prompt"]\naction = "flag"\n'
    path.write_text(text)
    command = f"seawall policy check {path.name}" if policy else f"seawall config check --config {path.name}"
    return f"{command}\nrm {path.name}"


def session(text: str) -> list[tuple[str, str]]:
    """The commands of a terminal's session, and what each printed; one may fail if the page shows its error."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, printed = re.fullmatch(r"((?:.*\\\n)*.*)\n?((?:.*\n?)*)", part).groups()
        found.append((f"{command} || true" if printed.startswith("seawall: ") else command, printed))
    return found


def shows(page: str, got: str) -> bool:
    """Whether a page shows what came: `…` stands for any text within a line, and alone for any lines."""

    def even(text: str) -> list[str]:
        return [re.sub(r"\s+", " ", VARYING.sub("VARYING", line)).strip() for line in text.strip().splitlines()]

    pattern = "".join(
        "(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n" for line in even(page)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in even(got))) is not None
