"""`seawall serve` with the guard: whether it judges as ONNX Runtime alone does, what callers get at growing loads, and
how late a streamed answer comes that is judged as it grows. Every text is new unless it says otherwise.

LLM server, callers and Seawall share the machine's cores; the guard has the GPU for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import rate
from guard_load import Watch
from llm import text
from streams import stream

from alone import runtime
from machine import Machine
from model import Model

# The settings of deploy/docs/sea-guard.md.
SETTINGS = """\
[guard]
dir = "{guard}"
provider = "{provider}"
devices = [0]
memory_mb = 70_000
kv_tokens = 32_768
queue_ms = 2_000
[policies]
dir = "policy.toml"
"""
# Random weights find half of all texts unsafe: a policy that asks as `baseline` does, and lets all pass.
POLICY = """\
name = "lenient"
[[rule]]
name = "unsafe"
where = ["prompt", "completion"]
threshold = 0.9999
action = "block"
"""
# A stream's sentences, and seconds from one to the next: about 40 tokens of a large vocabulary a second.
SENTENCES, PACE = 8, 0.5


@dataclass(frozen=True)
class Effort:
    """How much is asked."""

    seconds: float
    # Callers at whom the guard always has full batches waiting.
    callers: int
    # Shares of the capacity that those find.
    loads: tuple[float, ...]
    # Streams that are open at once.
    streams: tuple[int, ...]


FULL = Effort(8, 96, (0.25, 0.5, 0.75, 0.9, 1.1, 1.5, 2.0), (1, 8, 24, 48))
QUICK = Effort(2, 8, (0.5, 2.0), (1, 4))


def measure(machine: Machine, model: Model, dtype: str, words: int, quick: bool) -> dict:
    """`words` make a prompt of the length that was measured without the proxy."""
    effort = QUICK if quick else FULL
    guard = model.guard(dtype).absolute()
    found = {"words": words, "callers": effort.callers}
    with tempfile.TemporaryDirectory() as name, _llm() as upstream:
        folder = Path(name)
        provider = "cuda" if machine.gpu else "cpu"
        (folder / "seawall.toml").write_text(SETTINGS.format(guard=guard, provider=provider))
        (folder / "policy.toml").write_text(POLICY)
        with _card(machine) as before:
            time.sleep(1)
        for mode in ("hold", "lag"):
            began = time.monotonic()
            with rate.seawall(folder, mode, upstream, runtime() | {"SEAWALL_STREAM__MODE": mode}) as server:
                if mode == "hold":
                    found["start_s"] = time.monotonic() - began
                    found["readyz"] = _ready(server)
                    found["verdicts"] = _verdicts(server, guard, words)
                    found |= asyncio.run(_curve(server, machine, words, effort))
                    found["gpu_mib"] = {"before": before.most_mib(), "most": found.pop("most_mib")}
                found[mode] = asyncio.run(_streams(server, words, effort))
                print(json.dumps(found, indent=1), flush=True)
    return found


def _llm() -> contextlib.AbstractContextManager[str]:
    return rate.llm("--sentences", SENTENCES, "--pace", PACE, "--whole", 1)


def _ready(server: rate.Server) -> dict:
    """What `/readyz` says of the guard; an error unless it is ready."""
    with urllib.request.urlopen(f"http://{server.admin}/readyz", timeout=30) as answer:
        return json.load(answer)["guards"]


def _verdicts(server: rate.Server, guard: Path, words: int) -> dict:
    """Scores of the golden prompts over HTTP, beside those of ONNX Runtime alone; and milliseconds of one new text."""
    lines = [json.loads(line) for line in (guard / "golden.jsonl").read_text().splitlines()]
    golden = {line["text"]: line["score"] for line in lines if line["task"] == "prompt"}
    connection = http.client.HTTPConnection(*server.address, timeout=60)

    def ask(texts: list[str]) -> list[dict]:
        body, headers = json.dumps({"input": texts}), {"content-type": "application/json"}
        connection.request("POST", "/v1/moderations", body, headers)
        return json.load(connection.getresponse())["results"]

    results = ask(list(golden))
    scores = [result["category_scores"]["unsafe"] for result in results]
    gaps = [abs(score - own) for score, own in zip(scores, golden.values(), strict=True)]
    times = []
    for _ in range(20):
        began = time.monotonic()
        ask([rate.prose(words)])
        times.append((time.monotonic() - began) * 1000)
    connection.close()
    flagged = sum(result["flagged"] for result in results)
    return {"texts": len(gaps), "gap": max(gaps), "flagged": flagged, "one_ms": statistics.median(times)}


async def _curve(server: rate.Server, machine: Machine, words: int, effort: Effort) -> dict:
    """The most that is judged, and what callers get at shares of it. A call has two texts: prompt and answer."""

    def body() -> bytes:
        return rate.request(rate.prose(words))

    client = rate.Client(server)
    await rate.closed(client, body, effort.callers, 2)
    with _card(machine) as card:
        async with Watch(server) as watch:
            calls = await rate.closed(client, body, effort.callers, effort.seconds)
    client.close()
    judged = [call for call in calls if call.status == 200]
    # What waited at the end is judged after it.
    took = max(call.at + call.seconds for call in calls) - min(call.at for call in calls)
    capacity, rows, most_mib = len(judged) / took, [], card.most_mib()
    full = {"calls_s": capacity, "batch": watch.batch(), "p50_ms": rate.median_ms(judged), "busy": card.busy()}
    for load in effort.loads:
        client = rate.Client(server)
        with _card(machine) as card:
            async with Watch(server) as watch:
                calls = await rate.steady(client, body, load * capacity, effort.seconds)
        client.close()
        found = {"load": load, "busy": card.busy(), "batch": watch.batch(), "waiting": watch.waiting}
        rows.append(found | _told(calls, effort.seconds))
        most_mib = max(most_mib, card.most_mib())
    return {"capacity": full, "rows": rows, "most_mib": most_mib}


def _told(calls: list[rate.Call], seconds: float) -> dict:
    judged, refused = ([call for call in calls if call.status == status] for status in (200, 503))
    # What waited at the end is judged after it.
    took = max(seconds, max(call.at + call.seconds for call in calls) - min(call.at for call in calls))
    return {
        "offered_s": len(calls) / seconds,
        "judged_s": len(judged) / took,
        "p50_ms": rate.median_ms(judged),
        "p99_ms": rate.p99_ms(judged),
        "refused": len(refused) / len(calls),
        "refused_p50_ms": rate.median_ms(refused),
        "refused_p99_ms": rate.p99_ms(refused),
        "failed": len(calls) - len(judged) - len(refused),
    }


async def _streams(server: rate.Server, words: int, effort: Effort) -> dict:
    """By how much each sentence reaches the caller later than the LLM server sent it, in milliseconds."""
    known = rate.request(rate.prose(words), stream=True)
    await stream(server, [], known)
    rows = [_late("known", [await _one(server, known) for _ in range(2)])]
    for count in effort.streams:
        # One by itself is asked again and again; several begin one after another within the pace.
        rounds, once = (3, 1) if count == 1 else (1, count)
        heard = []
        for _ in range(rounds):
            bodies = [rate.request(rate.prose(words), stream=True) for _ in range(once)]
            heard += await asyncio.gather(*(_one(server, body, at * PACE / once) for at, body in enumerate(bodies)))
        rows.append(_late(str(count), heard))
    metrics = await asyncio.to_thread(server.metrics)
    checks = {name: value for name, value in metrics.items() if name.startswith("seawall_guard_incremental")}
    return {"rows": rows, "incremental": checks}


async def _one(server: rate.Server, body: bytes, wait: float = 0) -> list[float]:
    """By how many seconds each event was late; nothing of a stream that did not come whole."""
    await asyncio.sleep(wait)
    late: list[float] = []
    return late if await stream(server, late, body) == text(SENTENCES) else []


def _late(name: str, heard: list[list[float]]) -> dict:
    whole = list(filter(None, heard))
    events = [one for late in whole for one in late]
    return {
        "streams": name,
        "whole": f"{len(whole)} of {len(heard)}",
        "first_p50_ms": rate.percentile([late[0] for late in whole], 0.5) * 1000,
        "event_p50_ms": rate.percentile(events, 0.5) * 1000,
        "event_p99_ms": rate.percentile(events, 0.99) * 1000,
        "last_p50_ms": rate.percentile([late[-1] for late in whole], 0.5) * 1000,
    }


@dataclass
class Card:
    """What nvidia-smi says each half second: share of the time that something ran, and memory in use."""

    samples: list[tuple[int, int]] = field(default_factory=list)

    def busy(self) -> float | None:
        return statistics.median(busy for busy, _ in self.samples) / 100 if self.samples else None

    def most_mib(self) -> int:
        return max((memory for _, memory in self.samples), default=0)


@contextlib.contextmanager
def _card(machine: Machine) -> Iterator[Card]:
    card = Card()
    if not machine.gpu:
        yield card
        return
    query = "nvidia-smi --id=0 --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits --loop-ms=500"
    with subprocess.Popen(query.split(), stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            for line in process.stdout:
                busy, memory = line.split(",")
                card.samples.append((int(busy), int(memory)))

        reader = threading.Thread(target=read)
        reader.start()
        yield card
        process.terminate()
        reader.join()
