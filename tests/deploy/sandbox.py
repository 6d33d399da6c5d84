"""Runs a program under the system calls, address families and memory rules of a unit: sandbox.py UNIT PROGRAM …

The service manager does the same by seccomp; what a unit says about files needs root, and is not done here.
"""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

from pyseccomp import ALLOW, ERRNO, MASKED_EQ, Arg, SyscallFilter

READ_WRITE_EXECUTE = 1 | 2 | 4
WRITE_EXECUTE, EXECUTE = 2 | 4, 4


def lines(unit: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{key}=")]


def calls(group: str) -> set[str]:
    """The system calls of a group, and of those within."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True
    ).stdout
    names = [line.strip() for line in told.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*[calls(name) if name[0] == "@" else {name} for name in names])


def allowed(unit: Path) -> set[str]:
    known: set[str] = set()
    for line in lines(unit, "SystemCallFilter"):
        named = set().union(*[calls(name) if name[0] == "@" else {name} for name in line.lstrip("~").split()])
        known = known - named if line[0] == "~" else known | named
    return known


def confine(unit: Path):
    refused = ERRNO(errno.EPERM)
    rules = SyscallFilter(refused)
    special = {"mmap", "mprotect", "pkey_mprotect", "socket"}
    for name in allowed(unit) - special:
        try:
            rules.add_rule(ALLOW, name)
        except (OSError, RuntimeError, ValueError):
            # Another machine's, or newer than this libseccomp.
            continue
    assert lines(unit, "MemoryDenyWriteExecute") == ["yes"]
    # All but memory that is both written and run.
    for protection in range(READ_WRITE_EXECUTE + 1):
        if protection & WRITE_EXECUTE != WRITE_EXECUTE:
            rules.add_rule(ALLOW, "mmap", Arg(2, MASKED_EQ, READ_WRITE_EXECUTE, protection))
    for name in ["mprotect", "pkey_mprotect"]:
        rules.add_rule(ALLOW, name, Arg(2, MASKED_EQ, EXECUTE, 0))
    for family in " ".join(lines(unit, "RestrictAddressFamilies")).split():
        rules.add_rule(ALLOW, "socket", Arg(0, MASKED_EQ, 0xFFFFFFFF, getattr(socket, family)))
    rules.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
