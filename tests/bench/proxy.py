"""What the proxy costs: throughput, latency, processor time and memory beside nginx's `proxy_pass` in front of the same LLM server.

The LLM server is an nginx that answers at once, so that nothing but the way there and back is measured. All contenders take turns
in each round, and ratios are of the same round.

usage: proxy.py [--rounds N] [--seconds S] [--connections 1,16,256] [--sizes 1] [--only NAME,…]
"""

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEAWALL = Path(os.environ.get("SEAWALL", ROOT / "target/release/seawall"))
TICKS = os.sysconf("SC_CLK_TCK")
PROSE = "The ferry leaves at nine, the market opens at ten, and lunch is by the river. "
# A policy that asks nothing of the guard.
UNGUARDED = """\
name = "unguarded"
[[rule]]
name = "none"
where = ["prompt"]
detectors = ["payment_card"]
action = "flag"
"""
NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    client_max_body_size 16m; client_body_buffer_size 2m;
    keepalive_requests 100000000;
    {http}
}}
"""
ANSWERING = """server {{ listen 127.0.0.1:{port} backlog=8192; default_type application/json; return 200 '{answer}'; }}"""
PASSING = """upstream llm {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port} backlog=8192;
        location / {{ proxy_pass http://llm; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""
# Prompts that differ in their first words, so that no verdict is known.
NEW = """\
local count = 0
local mark = tostring(math.random(1, 1000000000))
request = function()
    count = count + 1
    return wrk.format(nil, nil, nil, (string.gsub(wrk.body, "NUMBER", mark .. " " .. count)))
end
init = function() math.randomseed(os.time()) ; mark = tostring(math.random(1, 1000000000)) end
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Contender:
    """A server on a port, with the processes that it runs in."""

    name: str
    port: int
    process: subprocess.Popen

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_s(self) -> float:
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.pids()]
        return sum(int(own[11]) + int(own[12]) for own in fields) / TICKS

    def rss_mb(self) -> float:
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def running(name: str, port: int, command: list, folder: Path, environment: dict | None = None):
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(map(str, command)), stdout=out, stderr=out, cwd=folder, env=os.environ | (environment or {})
        )
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{name}: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Contender(name, port, process)
    finally:
        process.terminate()
        process.wait(20)


def nginx(name: str, folder: Path, http: str, port: int):
    own = folder / name
    own.mkdir()
    config = own / "nginx.conf"
    config.write_text(NGINX.format(folder=own, http=http))
    return running(name, port, ["/usr/sbin/nginx", "-c", config, "-e", "stderr"], folder)


def seawall(name: str, folder: Path, upstream: str, environment: dict):
    port = free_port()
    command = [SEAWALL, "serve", "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--upstream", f"http://{upstream}"]
    command += ["--store", f"sqlite://{folder / name}.db"]
    return running(name, port, command, folder, environment)


def body(size_kb: int, prompt: str) -> str:
    """A request of so many kilobytes: turns of a conversation, and the prompt last."""
    turns = [{"role": "system", "content": "You are a helpful guide."}]
    request = {"model": "m", "messages": [*turns, {"role": "user", "content": prompt}]}
    while len(json.dumps(request)) < size_kb * 1000:
        role = "assistant" if len(turns) % 2 == 0 else "user"
        room = size_kb * 1000 - len(json.dumps(request))
        turns.append({"role": role, "content": (f"{len(turns)}. " + PROSE * 50)[: max(40, min(room, 2000))]})
        request["messages"] = [*turns, {"role": "user", "content": prompt}]
    return json.dumps(request)


def load(target: Contender, script: Path, connections: int, seconds: float) -> dict:
    """wrk's figures, and processor time a request."""
    command = ["wrk", "-t", "1", "-c", connections, "-d", f"{seconds:g}s", "--latency", "-s", script]
    command.append(f"http://127.0.0.1:{target.port}/v1/chat/completions")
    before = target.cpu_s()
    told = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    spent = target.cpu_s() - before
    count = int(re.search(r"(\d+) requests in", told)[1])
    if failed := re.search(r"Non-2xx or 3xx responses: (\d+)", told):
        raise SystemExit(f"{target.name}: {failed[0]} of {count}\n{told}")
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]),
        "p50": milliseconds(re.search(r"50%\s+([\d.]+\w+)", told)[1]),
        "p99": milliseconds(re.search(r"99%\s+([\d.]+\w+)", told)[1]),
        "cpu": spent / max(count, 1) * 1e6,
        "rss": target.rss_mb(),
    }


def milliseconds(told: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", told).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", default="1,16,256")
    parser.add_argument("--sizes", default="1", help="kilobytes of a request")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        answer = json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": (PROSE * 9)[:700]}}
                ],
                "usage": {"prompt_tokens": 20, "completion_tokens": 160, "total_tokens": 180},
            }
        )
        port = free_port()
        upstream = f"127.0.0.1:{port}"
        alone = stack.enter_context(nginx("upstream", folder, ANSWERING.format(port=port, answer=answer), port))
        passing = free_port()
        (folder / "unguarded.toml").write_text(UNGUARDED)
        contenders = {
            "alone": lambda: contextlib.nullcontext(alone),
            "nginx": lambda: nginx("nginx", folder, PASSING.format(port=passing, upstream=upstream), passing),
            "unguarded": lambda: seawall("unguarded", folder, upstream, {"SEAWALL_POLICIES__DIR": str(folder / "unguarded.toml")}),
            "cached": lambda: seawall("cached", folder, upstream, {}),
            "new": lambda: seawall("new", folder, upstream, {}),
        }
        started = {
            name: stack.enter_context(start()) for name, start in contenders.items() if not only or name in only | {"nginx"}
        }
        print(f"{arguments.rounds} rounds of {arguments.seconds:g} s; medians, and medians of the ratios to nginx in the same round")
        for size in map(int, arguments.sizes.split(",")):
            same = folder / f"same-{size}.lua"
            fixed = "wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\nwrk.body = [==[{}]==]\n"
            same.write_text(fixed.format(body(size, "Plan my day in town.")))
            new = folder / f"new-{size}.lua"
            new.write_text(fixed.format(body(size, "NUMBER. Plan my day in town.")) + NEW)
            for connections in map(int, arguments.connections.split(",")):
                table(started, {name: new if name == "new" else same for name in started}, connections, size, arguments)


def table(started: dict, scripts: dict, connections: int, size: int, arguments: argparse.Namespace) -> None:
    rows = {name: [] for name in started}
    for turn in range(-1, arguments.rounds):
        for name, target in started.items():
            row = load(target, scripts[name], connections, arguments.seconds if turn >= 0 else 1)
            # The first turn only warms up: connections, caches, verdicts.
            if turn >= 0:
                rows[name].append(row)
    print(f"\n{size} KB, {connections} connections")
    print(f"{'':10} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8} {'RSS MB':>7} | {'req/s':>6} {'p50+':>6} {'CPU':>6}")
    for name, own in rows.items():
        middle = {key: statistics.median(row[key] for row in own) for key in own[0]}

        def ratio(key, base=None):
            pairs = zip(own, rows["nginx"], rows.get(base, [{key: 0}] * len(own)), strict=True)
            return statistics.median((mine[key] - off[key]) / max(theirs[key] - off[key], 1e-9) for mine, theirs, off in pairs)

        line = f"{name:10} {middle['rate']:9.0f} {middle['p50']:8.2f} {middle['p99']:8.2f} {middle['cpu']:8.1f} {middle['rss']:7.0f}"
        added = ratio("p50", "alone") if "alone" in rows and name != "alone" else float("nan")
        print(f"{line} | {ratio('rate'):6.2f} {added:6.2f} {ratio('cpu'):6.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
