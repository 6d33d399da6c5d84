"""Hours in minutes: whether memory, open files, threads and the guard's queue stay as they are under a steady mixture of calls.

Whole and streamed calls whose verdicts are known, new ones, and flagged ones that are recorded, each begun at its time. Memory is
flat if its median in the last quarter is not above the one in the second quarter, but for 5% or 8 MB; the first quarter fills pools
and the verdict cache, which is made small for that. Every call must be answered with status 200.

usage: soak.py [--minutes M] [--rate CALLS_A_SECOND] [--samples FILE.csv]
"""

import argparse
import asyncio
import contextlib
import csv
import itertools
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from rate import Client, Server, llm, median_ms, p99_ms, prose, request, seawall, steady

# Kinds of calls, and how many of a hundred.
MIXTURE = {"known": 50, "known stream": 25, "new": 10, "new stream": 5, "flagged": 10}
# Verdicts kept: full within the first quarter.
VERDICTS = 1_000
EVERY_S = 5.0
GROWTH, GROWTH_MB = 0.05, 8.0
COLUMNS = ("seconds", "rss_mb", "files", "threads", "waiting", "records")


def body() -> bytes:
    kind = random.choices(list(MIXTURE), list(MIXTURE.values()))[0]
    stream = kind.endswith("stream")
    if kind.startswith("known"):
        return request("Plan my day in town.", stream)
    if kind == "flagged":
        # Redacted on the way, and recorded.
        return request(f"{prose(8)}: my card is 4111 1111 1111 1111, {prose(4)}", stream)
    return request(prose(16), stream)


async def watch(server: Server, samples: list[tuple], path: Path | None) -> None:
    began = time.monotonic()
    with path.open("w", newline="") if path else contextlib.nullcontext() as file:
        writer = csv.writer(file) if file else None
        if writer:
            writer.writerow(COLUMNS)
        for number in itertools.count(1):
            await asyncio.sleep(began + number * EVERY_S - time.monotonic())
            metrics = await asyncio.to_thread(server.metrics)
            waiting, records = metrics["seawall_guard_waiting"], metrics["seawall_review_records_total"]
            row = (time.monotonic() - began, server.rss_mb(), server.files(), server.threads(), waiting, records)
            samples.append(row)
            if writer:
                writer.writerow(row)
                file.flush()


async def run(server: Server, arguments: argparse.Namespace) -> bool:
    client, samples = Client(server), []
    watching = asyncio.create_task(watch(server, samples, arguments.samples))
    calls = await steady(client, body, arguments.rate, arguments.minutes * 60)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    client.close()

    statuses = Counter(call.status for call in calls)
    print(f"{len(calls)} calls in {arguments.minutes:g} minutes; by status {dict(statuses)}; {samples[-1][-1]:.0f} on record")
    quarter = len(samples) // 4
    quarters = [samples[number * quarter : (number + 1) * quarter] for number in range(4)]
    print(f"{'':9} {'RSS MB':>8} {'files':>6} {'threads':>8} {'waiting':>8} {'p50 ms':>8} {'p99 ms':>8}")
    began, each = min(call.at for call in calls), arguments.minutes * 15
    for number, rows in enumerate(quarters):
        rss, files, threads, waiting = (statistics.median(column) for column in list(zip(*rows, strict=True))[1:5])
        own = [call for call in calls if number * each <= call.at - began < (number + 1) * each]
        print(f"quarter {number + 1} {rss:8.1f} {files:6.0f} {threads:8.0f} {waiting:8.0f} {median_ms(own):8.1f} {p99_ms(own):8.1f}")
    later = samples[quarter:]
    slope, _ = statistics.linear_regression([row[0] / 3600 for row in later], [row[1] for row in later])
    before, after = (statistics.median(row[1] for row in quarters[number]) for number in (1, 3))
    is_flat = after - before <= max(GROWTH * before, GROWTH_MB)
    told = "flat" if is_flat else "not flat"
    print(f"memory after the first quarter: {slope:+.1f} MB an hour; from the second quarter to the last {after - before:+.1f} MB: {told}")
    failed = len(calls) - statuses[200]
    print(f"calls without status 200: {failed}")
    return is_flat and failed == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--samples", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, llm("--pace", 0.2, "--sentences", 3) as upstream:
        with seawall(Path(name), "soak", upstream, {"SEAWALL_CACHE__ENTRIES": str(VERDICTS)}) as server:
            is_fine = asyncio.run(run(server, arguments))
    raise SystemExit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
