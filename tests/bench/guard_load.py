"""What callers see of the guard at each load: the batcher's curve of latency, fairness between long and short texts, and what
is left to calls that need no guard.

The guard's capacity is measured first, by callers that always wait for an answer; then calls come at shares of it, at their time
whatever comes back. Every prompt is new, and so is its short answer, which is judged with it: two verdicts a call.

usage: guard_load.py [--seconds S] [--loads 0.1,0.5,…] [--words N] [--only curve,fair,reactor]
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
import urllib.request
from pathlib import Path

from rate import Client, Server, closed, llm, median_ms, p99_ms, percentile, prose, request, seawall, steady

# Where a long prompt is what somebody pastes into a chat at most.
LONG_BYTES = 100_000
# Callers at whom the guard always has more to do, while each is answered in time.
CALLERS = 32
KNOWN = "Plan my day in town."


class Watch:
    """The most that is seen of the proxy while something runs."""

    def __init__(self, server: Server):
        self.server, self.waiting, self.rss = server, 0, 0.0
        self.before = server.metrics()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.look())
        return self

    async def look(self):
        while True:
            metrics = await asyncio.to_thread(self.server.metrics)
            self.waiting = max(self.waiting, int(metrics["seawall_guard_waiting"]))
            self.rss = max(self.rss, self.server.rss_mb())
            await asyncio.sleep(0.25)

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        after = await asyncio.to_thread(self.server.metrics)
        self.spent = {name: value - self.before.get(name, 0) for name, value in after.items()}

    def batch(self) -> float:
        """Texts a batch."""
        return self.spent["seawall_guard_windows_total"] / max(self.spent.get("seawall_guard_batches_total", 0), 1)


async def capacity(server: Server, body, seconds: float) -> float:
    client = Client(server)
    await closed(client, body, CALLERS, 2)
    calls = await closed(client, body, CALLERS, seconds)
    client.close()
    return sum(call.status == 200 for call in calls) / seconds


async def curve(server: Server, arguments: argparse.Namespace) -> None:
    def body():
        return request(prose(arguments.words))

    most = await capacity(server, body, arguments.seconds)
    print(f"capacity: {most:.1f} new prompts of {arguments.words} words a second, with their answers, {CALLERS} callers")
    print(f"{'load':>5} {'offered/s':>9} {'judged/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'503s':>6}", end="")
    print(f" {'503 p50':>8} {'503 p99':>8} {'batch':>6} {'waiting':>7} {'RSS MB':>7} {'failed':>6}")
    for share in map(float, arguments.loads.split(",")):
        client = Client(server)
        async with Watch(server) as watch:
            calls = await steady(client, body, share * most, arguments.seconds)
        client.close()
        judged, refused = ([call for call in calls if call.status == status] for status in (200, 503))
        print(f"{share:5.2f} {len(calls) / arguments.seconds:9.1f} {len(judged) / arguments.seconds:9.1f}", end="")
        print(f" {median_ms(judged):8.1f} {p99_ms(judged):8.1f} {len(refused) / max(len(calls), 1):6.1%}", end="")
        print(f" {median_ms(refused):8.1f} {p99_ms(refused):8.1f} {watch.batch():6.1f} {watch.waiting:7}", end="")
        print(f" {watch.rss:7.0f} {len(calls) - len(judged) - len(refused):6}", flush=True)


def long_prompt() -> bytes:
    prompt = prose(LONG_BYTES // 6)
    return request((prompt * 2)[:LONG_BYTES])


async def fair(server: Server, arguments: argparse.Namespace) -> None:
    """Short prompts by themselves, and beside clients that send long ones one after another."""

    def short():
        return request(prose(arguments.words))

    rate = 0.25 * await capacity(server, short, arguments.seconds)
    print(f"\nshort prompts, {rate:.1f} a second, beside clients that send {LONG_BYTES // 1000} KB prompts one after another")
    print(f"{'clients':>7} {'p50 ms':>8} {'p99 ms':>8} {'503s':>6} {'long done':>9} {'long 503s':>9} {'long p50 s':>10}")
    for clients in (0, 1, 4):
        client, other = Client(server), Client(server)
        beside = asyncio.create_task(closed(other, long_prompt, clients, arguments.seconds))
        await asyncio.sleep(0.5)
        calls = await steady(client, short, rate, arguments.seconds)
        long = await beside
        client.close()
        other.close()
        judged = [call for call in calls if call.status == 200]
        done = [call for call in long if call.status == 200]
        print(f"{clients:7} {median_ms(judged):8.1f} {p99_ms(judged):8.1f} {1 - len(judged) / max(len(calls), 1):6.1%}", end="")
        print(f" {len(done):9} {len(long) - len(done):9} {median_ms(done) / 1000:10.1f}", flush=True)


async def reactor(server: Server, arguments: argparse.Namespace) -> None:
    """Calls whose verdicts are known, and health checks, while the guard has nothing to do and while it has too much."""
    known, new = request(KNOWN), lambda: request(prose(arguments.words))
    client, other = Client(server), Client(server)
    await client.call(known)

    def look() -> float:
        began = time.monotonic()
        with urllib.request.urlopen(f"http://{server.admin}/healthz", timeout=30) as answer:
            answer.read()
        return time.monotonic() - began

    async def health(seconds: float) -> list[float]:
        end, times = time.monotonic() + seconds, []
        while time.monotonic() < end:
            times.append(await asyncio.to_thread(look))
            await asyncio.sleep(0.02)
        return times

    print(f"\n{server.threads()} threads; calls with known verdicts, 50 a second, and health checks")
    print(f"{'guard':>10} {'known p50':>9} {'p99 ms':>8} {'health p50':>10} {'p99 ms':>8} {'judged/s':>9}")
    for name, callers in (("idle", 0), ("saturated", CALLERS)):
        beside = asyncio.create_task(closed(other, new, callers, arguments.seconds))
        calls, times = await asyncio.gather(steady(client, lambda: known, 50, arguments.seconds), health(arguments.seconds))
        judged = sum(call.status == 200 for call in await beside) / arguments.seconds
        print(f"{name:>10} {median_ms(calls):9.2f} {p99_ms(calls):8.2f} {percentile(times, 0.5) * 1000:10.2f}", end="")
        print(f" {percentile(times, 0.99) * 1000:8.2f} {judged:9.1f}", flush=True)
    client.close()
    other.close()


PARTS = {"curve": curve, "fair": fair, "reactor": reactor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--loads", default="0.1,0.25,0.5,0.75,0.9,1,1.25,1.5,2")
    parser.add_argument("--words", type=int, default=16)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, llm("--sentences", 1) as upstream:
        for part in arguments.only.split(","):
            with seawall(Path(name), part, upstream) as server:
                asyncio.run(PARTS[part](server, arguments))


if __name__ == "__main__":
    main()
