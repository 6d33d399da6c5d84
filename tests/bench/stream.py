"""What the stream gate costs: time to the first text and to the end of a streamed answer, for each mode; and, where every
verdict is known, time to the first byte and the delay of each piece, beside nginx's `proxy_pass`.

One LLM server sends the same answer at a steady pace; the same client asks it directly and through each proxy in turn. In the
first part every answer is new, so that no verdict comes from the cache; in the second all are the same.

usage: stream.py [--rounds N] [--rate PIECES_A_SECOND]
"""

import argparse
import contextlib
import http.client
import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from servers import PATH, PROSE, passing, seawall

MODES = ("hold", "lag", "buffer")
UNBUFFERED = "proxy_buffering off;"
# Rounds of short answers, whose first bytes are compared, and the pieces of each.
SHORT_ROUNDS, SHORT = 30, 3
# The aim: what Seawall may take to the first byte beyond nginx, in milliseconds.
AIM_MS = 1.0


class Llm(BaseHTTPRequestHandler):
    """Streams an answer of three sentences, a word at a time."""

    protocol_version = "HTTP/1.1"
    # Pieces leave one by one, as soon as they are there.
    disable_nagle_algorithm = True
    rate, count, new, pieces = 50.0, 0, True, None
    sent: list[float] = []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Llm.count += Llm.new
        words = f"Plan {Llm.count}. {PROSE * 3}".split(" ")[: self.pieces]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        Llm.sent = []
        start = time.perf_counter()
        for number, word in enumerate(words):
            time.sleep(max(0, start + number / self.rate - time.perf_counter()))
            Llm.sent.append(time.perf_counter())
            self.event({"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]})
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"0\r\n\r\n")

    def event(self, chunk: dict):
        data = f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm', **chunk})}\n\n"
        self.wfile.write(f"{len(data):x}\r\n{data}\r\n".encode())

    def log_message(self, *_):
        pass


@dataclass
class Heard:
    """One answer's times, in seconds: the first three since the call, a piece's delay since the LLM server sent it."""

    head: float
    first: float
    end: float
    delays: list[float]
    # Seconds between a piece and the one before.
    gaps: list[float]


def ask(address: str) -> Heard:
    connection = http.client.HTTPConnection(address)
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Plan my day."}]})
    # A connection that is there already, as clients keep theirs.
    connection.connect()
    started = time.perf_counter()
    connection.request("POST", PATH, body, {"content-type": "application/json"})
    answer, arrived = connection.getresponse(), []
    head = time.perf_counter()
    while part := answer.read1():
        arrived += [time.perf_counter()] * part.count(b'"content"')
    end = time.perf_counter()
    connection.close()
    # Whoever gathers pieces sends fewer events; each is taken to hold the ones that came up to it.
    delays = [at - sent for at, sent in zip(reversed(arrived), reversed(Llm.sent))]
    gaps = [after - before for before, after in zip(arrived, arrived[1:])]
    return Heard(head - started, arrived[0] - started, end - started, delays, gaps)


def rounds(addresses: dict[str, str], count: int) -> dict[str, list[Heard]]:
    heard = {name: [] for name in addresses}
    for turn in range(count + 1):
        for name, address in addresses.items():
            told = ask(address)
            # The first turn only warms up.
            if turn > 0:
                heard[name].append(told)
    return heard


def median_ms(heard: list[Heard], field: str) -> float:
    return statistics.median(getattr(one, field) for one in heard) * 1000


def new_verdicts(heard: dict[str, list[Heard]]) -> None:
    print(f"{'':8} {'first text':>12} {'added':>8} {'end':>10} {'added':>8}")
    base = {field: median_ms(heard["alone"], field) for field in ("first", "end")}
    for name, own in heard.items():
        first, end = median_ms(own, "first"), median_ms(own, "end")
        print(f"{name:8} {first:12.1f} {first - base['first']:8.1f} {end:10.1f} {end - base['end']:8.1f}")


def known_verdicts(heard: dict[str, list[Heard]]) -> None:
    print(f"{'':8} {'first byte':>10} {'first text':>10} {'piece +p50':>10} {'piece +p99':>10} {'together':>9}")
    for name, own in heard.items():
        delays = sorted(delay * 1000 for one in own for delay in one.delays)
        gaps = [gap for one in own for gap in one.gaps]
        together = sum(gap < 0.25 / Llm.rate for gap in gaps) / len(gaps)
        late = f"{statistics.median(delays):10.2f} {delays[len(delays) * 99 // 100]:10.2f}"
        print(f"{name:8} {median_ms(own, 'head'):10.2f} {median_ms(own, 'first'):10.2f} {late} {together:9.1%}")


def first_bytes(heard: dict[str, list[Heard]]) -> None:
    for mode in MODES:
        pairs = zip(heard[mode], heard["nginx"], strict=True)
        beyond_ms = statistics.median(own.head - nginx.head for own, nginx in pairs) * 1000
        own_ms = median_ms(heard[mode], "head")
        print(f"{mode}: first byte {own_ms:.2f} ms, {beyond_ms:+.2f} beside nginx's ({AIM_MS:g} is the aim)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rate", type=float, default=Llm.rate)
    arguments = parser.parse_args()
    Llm.rate = arguments.rate

    llm = ThreadingHTTPServer(("127.0.0.1", 0), Llm)
    threading.Thread(target=llm.serve_forever, daemon=True).start()
    upstream = f"127.0.0.1:{llm.server_port}"
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        servers = {
            mode: stack.enter_context(seawall(mode, folder, upstream, {"SEAWALL_STREAM__MODE": mode})) for mode in MODES
        }
        addresses = {"alone": upstream, **{mode: server.address for mode, server in servers.items()}}
        print(f"streamed answers, {Llm.rate:.0f} words a second, {arguments.rounds} rounds, medians in ms; every verdict new")
        new_verdicts(rounds(addresses, arguments.rounds))
        Llm.new = False
        addresses["nginx"] = stack.enter_context(passing(folder, upstream, UNBUFFERED)).address
        print("\nthe same answers, every verdict known")
        known_verdicts(rounds(addresses, arguments.rounds))
        Llm.pieces = SHORT
        print(f"\nanswers of {SHORT} words, {SHORT_ROUNDS} rounds")
        first_bytes(rounds(addresses, SHORT_ROUNDS))


if __name__ == "__main__":
    main()
