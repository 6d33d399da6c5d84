"""Load by wrk: the requests, and what wrk and the system tell of them."""

import json
import re
import subprocess
import time
from pathlib import Path

from servers import PATH, PROSE, Server

PROMPT = "Plan my day in town."
# wrk counts an answer that takes longer as none.
PATIENCE_S = 120
FIXED = "wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\nwrk.body = [==[{}]==]\n"
STREAMED = "wrk.headers['accept'] = 'text/event-stream'\n"
# Prompts that differ in their first words, so that no verdict is known.
NEW = """\
local mark, count = '', 0
init = function() math.randomseed(os.time()); mark = tostring(math.random(1, 1000000000)) end
request = function()
    count = count + 1
    return wrk.format(nil, nil, nil, (string.gsub(wrk.body, "NUMBER", mark .. " " .. count)))
end
"""


class Failed(Exception):
    """A server did not answer as it should: what it did instead."""


def body(size_kb: int, prompt: str = PROMPT, stream: bool = False) -> str:
    """A request of so many kilobytes: turns of a conversation, and the prompt last."""
    turns = [{"role": "system", "content": "You are a helpful guide."}]
    last = {"role": "user", "content": prompt}
    request = {"model": "m", **({"stream": True} if stream else {}), "messages": [*turns, last]}
    length = len(json.dumps(request))
    while length < size_kb * 1000:
        role = "assistant" if len(turns) % 2 == 0 else "user"
        room = min(size_kb * 1000 - length, 2000)
        turns.append({"role": role, "content": (f"{len(turns)}. " + PROSE * 50)[: max(40, room)]})
        length += len(json.dumps(turns[-1])) + len(", ")
    return json.dumps(request | {"messages": [*turns, last]})


def script(folder: Path, size_kb: int = 1, stream: bool = False, new: bool = False) -> Path:
    """wrk's orders for one kind of request."""
    file = folder / f"{size_kb}{'-streamed' if stream else ''}{'-new' if new else ''}.lua"
    prompt = f"NUMBER. {PROMPT}" if new else PROMPT
    file.write_text(FIXED.format(body(size_kb, prompt, stream)) + STREAMED * stream + NEW * new)
    return file


def warm(target: Server, request: str, headers: dict | None = None, patience_s: float = 600) -> float:
    """Asks until every verdict is known, and tells the seconds of a call from then on."""
    end = time.monotonic() + patience_s
    good = 0
    while good < 3:
        started = time.monotonic()
        status, told = target.ask(request, headers)
        took = time.monotonic() - started
        good = good + 1 if status == 200 else 0
        if good == 0 and time.monotonic() > end:
            raise Failed(f"{target.name} answers {status}: {told[:300]}")
    return took


def load(target: Server, orders: Path, connections: int, seconds: int, may_refuse: bool = False) -> dict[str, float]:
    """What `once` tells. On a busy machine wrk may get no connection in its time: a failure must come twice to count."""
    try:
        return once(target, orders, connections, seconds, may_refuse)
    except Failed:
        return once(target, orders, connections, seconds, may_refuse)


def once(target: Server, orders: Path, connections: int, seconds: int, may_refuse: bool) -> dict[str, float]:
    """Requests a second, milliseconds at the median and for all but a hundredth, microseconds of processor time a request,
    megabytes held, and the share of calls that were refused.
    """
    command = ["wrk", "-t", "1", "-c", connections, "-d", f"{seconds}s", "--latency", "--timeout", f"{PATIENCE_S}s"]
    command += ["-s", orders, f"http://{target.address}{PATH}"]
    before = target.cpu_s()
    told = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    spent = target.cpu_s() - before
    held = target.rss_mb()
    settle(target)
    count = int(re.search(r"(\d+) requests in", told)[1])
    refused = int((re.search(r"Non-2xx or 3xx responses: (\d+)", told) or [0, 0])[1])
    if count == 0 or "Socket errors" in told or (refused and not may_refuse):
        raise Failed(f"{target.name} at {connections} connections: {' '.join(told.split())}")
    return {
        "rate": (count - refused) / float(re.search(r"requests in ([\d.]+)s", told)[1]),
        "p50": milliseconds(re.search(r"50%\s+([\d.]+\w+)", told)[1]),
        "p99": milliseconds(re.search(r"99%\s+([\d.]+\w+)", told)[1]),
        "cpu": spent / count * 1e6,
        "rss": held,
        "refused": refused / count,
    }


def settle(target: Server, patience_s: float = 60) -> None:
    """Waits until a server is done with what its last callers left behind, so that the next one has the machine."""
    end, spent = time.monotonic() + patience_s, target.cpu_s()
    while time.monotonic() < end:
        time.sleep(0.1)
        before, spent = spent, target.cpu_s()
        if spent - before < 0.03:
            break


def milliseconds(told: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", told).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]
