"""What the stream gate costs: time to the first text and to the end of a streamed answer, for each mode.

One LLM server sends the same answer at a steady pace; the same client asks it directly and through Seawall in each mode, in
turn, and the medians of the differences count. Every answer is new, so that no verdict comes from the cache.

usage: stream.py [--rounds N] [--rate TOKENS_A_SECOND]
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODES = ("hold", "lag", "buffer")
SENTENCE = "The ferry leaves at nine, the market opens at ten, and lunch is by the river. "


class Llm(BaseHTTPRequestHandler):
    """Streams an answer of three sentences, a word at a time."""

    protocol_version = "HTTP/1.1"
    rate, count = 50.0, 0

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Llm.count += 1
        words = f"Plan {Llm.count}. {SENTENCE * 3}".split(" ")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in words:
            self.event({"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]})
            time.sleep(1 / self.rate)
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"0\r\n\r\n")

    def event(self, chunk: dict):
        data = f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm', **chunk})}\n\n"
        self.wfile.write(f"{len(data):x}\r\n{data}\r\n".encode())

    def log_message(self, *_):
        pass


def ask(address: str) -> tuple[float, float]:
    """Seconds to the first text and to the end."""
    connection = http.client.HTTPConnection(address)
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Plan my day."}]})
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer, first = connection.getresponse(), None
    for line in answer:
        if first is None and b'"content"' in line:
            first = time.perf_counter() - started
    connection.close()
    return first, time.perf_counter() - started


def serve(folder: Path, upstream: str, mode: str) -> tuple[subprocess.Popen, str]:
    log = folder / f"{mode}.log"
    environment = os.environ | {"SEAWALL_STREAM__MODE": mode, "SEAWALL_TELEMETRY__FORMAT": "json"}
    command = [ROOT / "target/release/seawall", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command += ["--upstream", upstream, "--store", f"sqlite://{folder / mode}.db"]
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=folder)
    while not (found := re.search(r'listening on http://([0-9.:]+)', log.read_text())):
        if server.poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.05)
    return server, found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rate", type=float, default=Llm.rate)
    arguments = parser.parse_args()
    Llm.rate = arguments.rate

    llm = ThreadingHTTPServer(("127.0.0.1", 0), Llm)
    threading.Thread(target=llm.serve_forever, daemon=True).start()
    upstream = f"127.0.0.1:{llm.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        servers = {mode: serve(Path(folder), f"http://{upstream}", mode) for mode in MODES}
        try:
            times = {name: [] for name in ("alone", *MODES)}
            for _ in range(arguments.rounds + 1):
                times["alone"].append(ask(upstream))
                for mode in MODES:
                    times[mode].append(ask(servers[mode][1]))
        finally:
            for server, _ in servers.values():
                server.terminate()
                server.wait()
    print(f"streamed answer at {arguments.rate:.0f} words a second, {arguments.rounds} rounds, medians in ms")
    print(f"{'':8} {'first text':>12} {'added':>8} {'end':>10} {'added':>8}")
    base = [statistics.median(column) for column in zip(*times["alone"][1:], strict=True)]
    for name, rows in times.items():
        first, end = (statistics.median(column) for column in zip(*rows[1:], strict=True))
        added = (first - base[0]) * 1000, (end - base[1]) * 1000
        print(f"{name:8} {first * 1000:12.1f} {added[0]:8.1f} {end * 1000:10.1f} {added[1]:8.1f}")


if __name__ == "__main__":
    main()
