"""Instructions of a request whose verdicts are known, by valgrind's callgrind: the one figure that no neighbour on the machine
moves. The calls go over one kept connection, and are counted once everything is warm.

usage: instructions.py [--calls N] [--track [COMMIT]]
"""

import argparse
import contextlib
import datetime
import http.client
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from load import body, warm
from rate import ROOT, free_port
from servers import PATH, TINY_GUARD, Server, answering, running, seawall_command

TRACK = Path(__file__).with_name("instructions.tsv")
STREAMED = {"accept": "text/event-stream"}
# What a program under valgrind may take to start and to end.
PATIENCE_S = 900
# The allocator's ways in, which Rust's allocations come by.
ALLOCATIONS = re.compile(r"mi_(malloc|zalloc|realloc)_aligned$")


@dataclass
class Case:
    """A kind of call, and how often it is made: dear ones less often."""

    name: str
    request: str
    headers: dict
    share: float = 1


CASES = (
    Case("whole_1kb", body(1), {}),
    Case("streamed_1kb", body(1, stream=True), STREAMED),
    Case("whole_100kb", body(100), {}, 0.1),
)


@dataclass
class Cost:
    """Of one call."""

    instructions: float
    allocations: float


def control(pid: int, *words: str) -> None:
    done = subprocess.run(["callgrind_control", *words, str(pid)], capture_output=True, text=True)
    if done.returncode != 0 or "Error" in done.stdout:
        raise SystemExit(f"callgrind_control {' '.join(words)}: {done.stdout}{done.stderr}")


def measure(server: Server, case: Case, calls: int, profile: Path) -> Cost:
    warm(server, case.request, case.headers)
    connection = http.client.HTTPConnection(server.address, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        # The connection's own costs are not those of a call.
        call(connection, case)
        control(server.process.pid, "-z")
        control(server.process.pid, "-i", "on")
        for _ in range(calls):
            call(connection, case)
        control(server.process.pid, "-i", "off")
    control(server.process.pid, "-d")
    dumps = sorted(profile.parent.glob(f"{profile.name}.*"), key=lambda dump: int(dump.suffix[1:]))
    total, allocations = read(dumps[-1])
    return Cost(total / calls, allocations / calls)


def call(connection: http.client.HTTPConnection, case: Case) -> None:
    connection.request("POST", PATH, case.request, {"content-type": "application/json"} | case.headers)
    answer = connection.getresponse()
    told = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{case.name}: {answer.status} {told[:300]}")


def read(dump: Path) -> tuple[int, int]:
    """The instructions of a profile, and the calls of the allocator in it."""
    names: dict[str, str] = {}
    total, allocations, callee = 0, 0, ""
    with dump.open() as lines:
        for line in lines:
            if line.startswith("totals:"):
                total = int(line.split()[1])
            elif match := re.match(r"(c?)fn=(\(\d+\))(?: (.*))?$", line):
                # A name stands where its number is met first.
                names.setdefault(match[2], match[3] or "")
                if match[1]:
                    callee = names[match[2]]
            elif line.startswith("calls=") and ALLOCATIONS.search(callee):
                allocations += int(line[len("calls=") :].split()[0])
    if total == 0:
        raise SystemExit(f"{dump}: nothing was counted")
    return total, allocations


def commit() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def last_row() -> dict[str, str]:
    if not TRACK.exists():
        return {}
    heads, *rows = (line.split("\t") for line in TRACK.read_text().splitlines())
    return dict(zip(heads, rows[-1])) if rows else {}


def track(name: str, costs: dict[str, Cost]) -> None:
    """Adds a row, or takes the place of the one of that name."""
    heads = ["commit", "date", *costs]
    rows = [line.split("\t") for line in TRACK.read_text().splitlines()[1:]] if TRACK.exists() else []
    own = [name, datetime.date.today().isoformat(), *(f"{cost.instructions:.0f}" for cost in costs.values())]
    rows = [row for row in rows if row[0] != own[0]] + [own]
    TRACK.write_text("".join("\t".join(row) + "\n" for row in [heads, *rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--track", nargs="?", const=commit(), metavar="COMMIT", help=f"write the figures into {TRACK.name}")
    arguments = parser.parse_args()
    before = last_row()
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as name, answering(Path(name)) as upstream:
        folder, port = Path(name), free_port()
        profile = folder / "profile"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={profile}"]
        command = valgrind + seawall_command(port, upstream.address, folder / "store.db")
        with running("callgrind", port, command, folder, TINY_GUARD, PATIENCE_S) as server:
            print(f"{'':13} {'instructions':>12} {'allocations':>11}   of a call, every verdict known")
            for case in CASES:
                cost = costs[case.name] = measure(server, case, max(10, int(arguments.calls * case.share)), profile)
                line = f"{case.name:13} {cost.instructions:12,.0f} {cost.allocations:11.1f}"
                if case.name in before:
                    line += f"   {cost.instructions / float(before[case.name]):.3f} of {before['commit']}'s"
                print(line, flush=True)
    if arguments.track:
        track(arguments.track, costs)


if __name__ == "__main__":
    main()
