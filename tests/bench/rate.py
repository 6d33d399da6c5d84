"""Load at a steady rate, whatever comes back, and a proxy to put it on: what the benchmarks of the guard and of scale share.

A closed loop (wrk, h2load without `--rps`) asks less when answers are late, and so hides queues. The tools that can hold a rate
send each time the same body, and a guard is only asked about a text that is new; hence these few lines.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEAWALL = Path(os.environ.get("SEAWALL", ROOT / "target/release/seawall"))
TICKS = os.sysconf("SC_CLK_TCK")
WORDS = (
    "river market morning ferry ticket garden lantern teacher holiday kitchen mountain library bicycle weather island "
    "concert recipe museum station family breakfast village harbour pepper coconut temple festival umbrella train"
).split()
# Files that a process may have open, as far as the system lets it.
FILES = 65_536
# A connection that was not used for so long is not used again: half of `listen.header_timeout_ms`.
IDLE_S = 5.0


@dataclass
class Server:
    """A running proxy."""

    address: tuple[str, int]
    admin: str
    process: subprocess.Popen

    def rss_mb(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def metrics(self) -> dict[str, float]:
        """The counters by name and labels."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=30) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def allow_files() -> int:
    """Lets this process and those that it starts open many files; tells how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), max(hard, FILES)))
        return FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def llm(*arguments: object) -> Iterator[str]:
    """An LLM server; yields its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, HERE / "llm.py", str(port), *map(str, arguments)])
    try:
        wait(lambda: connects(port), process, lambda: "llm.py has ended")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def seawall(folder: Path, name: str, upstream: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    log = folder / f"{name}.log"
    command = [SEAWALL, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command += ["--upstream", f"http://{upstream}", "--store", f"sqlite://{folder / name}.db"]
    own = os.environ | {"SEAWALL_TELEMETRY__FORMAT": "json", "SEAWALL_TELEMETRY__LOG": "seawall=warn,seawall::cli=info"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=own | (environment or {}), stdout=out, stderr=out, cwd=folder)
    try:
        found = wait(lambda: re.search(r'"address":"([^"]+)","admin":"([^"]+)"', log.read_text()), process, log.read_text)
        host, port = found[1].rsplit(":", 1)
        yield Server((host, int(port)), found[2], process)
    finally:
        process.terminate()
        process.wait(60)


def wait(ready: Callable, process: subprocess.Popen, said: Callable[[], str]):
    """What `ready` gives, once it gives something."""
    end = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError):
            if found := ready():
                return found
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(said())
        time.sleep(0.05)


def connects(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


@dataclass
class Call:
    """What came of a call."""

    at: float
    seconds: float
    status: int
    decision: str


class Client:
    """Calls over connections that are kept; as many as are in flight at once."""

    def __init__(self, server: Server):
        self.address = server.address
        # The last used last, and when.
        self.idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, body: bytes) -> Call:
        """A call and its whole answer, counted from now. Status 0 is no answer."""
        began = time.monotonic()
        status, decision = 0, ""
        try:
            reader, writer = await self.connection(began)
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(field.lower().split(": ", 1) for field in fields[1:] if field)
            if "content-length" in headers:
                await reader.readexactly(int(headers["content-length"]))
            else:
                while size := int(await reader.readline(), 16):
                    await reader.readexactly(size + 2)
                await reader.readexactly(2)
            status, decision = int(fields[0].split(" ")[1]), headers.get("seawall-decision", "")
            self.idle.append((time.monotonic(), reader, writer))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        return Call(began, time.monotonic() - began, status, decision)

    async def connection(self, now: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that is kept, unless the server may be about to close it."""
        while self.idle:
            since, reader, writer = self.idle.pop()
            if now - since < IDLE_S:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(*self.address)

    def close(self) -> None:
        for _, _, writer in self.idle:
            writer.close()
        self.idle = []


async def steady(client: Client, body: Callable[[], bytes], rate: float, seconds: float) -> list[Call]:
    """So many calls a second, each begun at its time whether or not those before have an answer. Late by this process' own
    doing counts as the answer's: a call's time begins when it should have begun."""
    loop, calls = asyncio.get_running_loop(), []
    began = loop.time()

    async def one(due: float) -> Call:
        call = await client.call(body())
        return Call(call.at, loop.time() - due, call.status, call.decision)

    # Random gaps, as independent callers make them.
    due = began
    while (due := due + random.expovariate(rate)) < began + seconds:
        await asyncio.sleep(due - loop.time())
        calls.append(asyncio.create_task(one(due)))
    return list(await asyncio.gather(*calls))


async def closed(client: Client, body: Callable[[], bytes], callers: int, seconds: float) -> list[Call]:
    """So many callers, each of whom asks anew when it has its answer."""
    end = time.monotonic() + seconds

    async def caller() -> list[Call]:
        calls = []
        while time.monotonic() < end:
            calls.append(await client.call(body()))
        return calls

    return list(itertools.chain(*await asyncio.gather(*(caller() for _ in range(callers)))))


def prose(words: int) -> str:
    """Harmless words in an order that nobody has seen."""
    return " ".join(random.choices(WORDS, k=words))


def request(prompt: str, stream: bool = False) -> bytes:
    return json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}).encode()


def percentile(values: list[float], share: float) -> float:
    """In the order of size, the value at that share; not a number if there is none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


def median_ms(calls: list[Call]) -> float:
    return percentile([call.seconds for call in calls], 0.5) * 1000


def p99_ms(calls: list[Call]) -> float:
    return percentile([call.seconds for call in calls], 0.99) * 1000
