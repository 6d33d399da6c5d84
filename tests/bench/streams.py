"""Many open streams at once: whether all of them come through whole, how late, and what memory they take.

Streams open one after another, stay open together while an LLM server paces their answers, and end one after another. Each answer's
text is compared with what the server said. Verdicts are known, or there is a policy that asks no guard: nobody's guard could judge
so many new answers, and what an open stream holds is the same.

usage: streams.py [--streams N] [--opening PER_SECOND] [--pace SECONDS] [--sentences N] [--only known,unguarded,lag]
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from pathlib import Path

from llm import text
from rate import Server, allow_files, llm, percentile, request, seawall

# A policy that asks nothing of the guard.
UNGUARDED = """\
name = "unguarded"
[[rule]]
name = "none"
where = ["prompt", "completion"]
detectors = ["payment_card"]
action = "flag"
"""
# Files of the proxy that are neither a client's connection nor one to the LLM server.
OWN_FILES = 200
BODY = request("Plan my day in town.", stream=True)
CALL = b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Stream(asyncio.Protocol):
    """A client's stream. It is done when the answer has ended or the connection is lost."""

    def __init__(self, late: list[float], body: bytes):
        self.body = body
        self.seen, self.events, self.text = b"", b"", []
        self.begun = self.whole = False
        self.late = late
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(CALL % (len(self.body), self.body))

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if not self.begun:
            head, end, rest = self.seen.partition(b"\r\n\r\n")
            if not end:
                return
            self.begun, self.seen = head.startswith(b"HTTP/1.1 200"), rest
        while (at := self.seen.find(b"\r\n")) > 0:
            size = int(self.seen[:at], 16)
            if len(self.seen) < at + 2 + size + 2:
                break
            self.events += self.seen[at + 2 : at + 2 + size]
            self.seen = self.seen[at + 2 + size + 2 :]
            if size == 0:
                self.whole = True
                self.transport.close()
        now = time.monotonic_ns()
        *events, self.events = self.events.split(b"\n\n")
        for event in events:
            if event.startswith(b"data: {"):
                chunk = json.loads(event[6:])
                self.text.append(chunk["choices"][0]["delta"].get("content", ""))
                self.late.append((now - int(chunk["id"])) / 1e9)

    def connection_lost(self, _) -> None:
        if not self.done.done():
            self.done.set_result(self.whole)


async def stream(server: Server, late: list[float], body: bytes = BODY) -> str | None:
    """What a stream said, if it came to its end; `late` takes on by how many seconds each of its events was."""
    try:
        _, protocol = await asyncio.get_running_loop().create_connection(lambda: Stream(late, body), *server.address)
    except OSError:
        return None
    return "".join(protocol.text) if await protocol.done else None


async def run(server: Server, count: int, arguments: argparse.Namespace) -> str:
    """Opens all streams and waits for their ends; tells in a line."""
    said = text(arguments.sentences)
    # The verdicts are known from here on.
    for _ in range(2):
        assert await stream(server, []) == said, "a stream by itself does not come through"
    late, ends, peak, rss = [], [], 0, server.rss_mb()
    idle = rss
    cpu, began = server.cpu_s(), time.monotonic()

    async def look() -> None:
        nonlocal peak, rss
        while True:
            peak, rss = max(peak, sum(not end.done() for end in ends)), max(rss, server.rss_mb())
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    for number in range(count):
        await asyncio.sleep(began + number / arguments.opening - time.monotonic())
        ends.append(asyncio.create_task(stream(server, late)))
    texts = await asyncio.gather(*ends)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    cores = (server.cpu_s() - cpu) / (time.monotonic() - began)
    whole, wrong = sum(one == said for one in texts), sum(one not in (said, None) for one in texts)
    line = f"{peak:7} {whole:7} {wrong:6} {count - whole - wrong:6} {percentile(late, 0.5) * 1000:8.1f}"
    line += f" {percentile(late, 0.99) * 1000:8.1f} {idle:8.0f} {rss:8.0f} {(rss - idle) * 1000 / max(peak, 1):9.1f} {cores:6.2f}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--opening", type=float, default=250)
    parser.add_argument("--pace", type=float, default=2)
    parser.add_argument("--sentences", type=int, default=30)
    parser.add_argument("--only", default="known,unguarded,lag")
    arguments = parser.parse_args()
    files = allow_files()
    count = min(arguments.streams, (files - OWN_FILES) // 2)
    if count < arguments.streams:
        print(f"the system allows {files} open files a process, and a stream is two of the proxy's: {count} streams")
    print(f"streams of {arguments.sentences} sentences, one each {arguments.pace:g} s; {arguments.opening:g} open a second")
    print(f"{'':10} {'at once':>7} {'whole':>7} {'wrong':>6} {'broken':>6} {'p50 ms':>8} {'p99 ms':>8}", end="")
    print(f" {'idle MB':>8} {'RSS MB':>8} {'KB/stream':>9} {'cores':>6}")
    failed = False
    with tempfile.TemporaryDirectory() as name, llm("--pace", arguments.pace, "--sentences", arguments.sentences) as upstream:
        folder = Path(name)
        (folder / "unguarded.toml").write_text(UNGUARDED)
        environments = {
            "known": {},
            "unguarded": {"SEAWALL_POLICIES__DIR": str(folder / "unguarded.toml")},
            "lag": {"SEAWALL_STREAM__MODE": "lag"},
        }
        for variant in arguments.only.split(","):
            with seawall(folder, variant, upstream, environments[variant]) as server:
                line = asyncio.run(run(server, count, arguments))
                print(f"{variant:10} {line}", flush=True)
                failed |= int(line.split()[1]) < count
    raise SystemExit("not every stream came through whole" if failed else 0)


if __name__ == "__main__":
    main()
