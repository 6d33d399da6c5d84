"""The service unit: what systemd thinks of it, and the program under the rules that it sets."""

import subprocess
import sys

from conftest import HERE, bare_environment

# As systemd rates it, from 0 to 10: what is left is that it talks to the network from the system's own files.
MOST_EXPOSED = 1.5


def unit(installed):
    return installed / "lib/systemd/system/seawall.service"


def test_systemd_takes_it(installed):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit(installed)], capture_output=True, text=True)
    assert done.returncode == 0 and "seawall.service" not in done.stderr, done.stderr


def test_a_mistake_in_it_would_be_told(installed, tmp_path):
    wrong = tmp_path / "seawall.service"
    wrong.write_text(unit(installed).read_text().replace("ProtectHome=yes", "ProtectHome=perhaps"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", wrong], capture_output=True, text=True)
    assert "seawall.service:" in done.stderr
    assert "perhaps" in done.stderr


def test_little_is_exposed(installed):
    rate = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", unit(installed)]
    done = subprocess.run(rate, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_program_works_under_its_rules(installed, tmp_path):
    sandbox = [sys.executable, HERE / "sandbox.py", unit(installed)]
    confined = lambda *command: subprocess.run(  # noqa: E731
        [*sandbox, *command], cwd=tmp_path, env=bare_environment(), capture_output=True, text=True
    )
    # The rules are in force: what no service has to do is refused.
    assert "Operation not permitted" in confined(sys.executable, "-c", "import os; os.chroot('/')").stderr
    done = confined(installed / "bin/seawall", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
