"""What the proxy costs: throughput, latency, processor time and memory beside nginx's `proxy_pass` in front of the same LLM
server, and beside LiteLLM's proxy.

The LLM server is an nginx that answers at once, so that nothing but the way there and back is measured. All contenders take
turns in each round, and ratios are of the same round.

usage: proxy.py [--rounds N] [--seconds S] [--connections 1,16,256,4096] [--sizes 1,10,100,1000] [--rules 1,10,100,1000]
                [--parts connections,sizes,streams,rules,new] [--only NAME,…]
"""

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from load import Failed, body, load, script, warm
from rate import allow_files
from servers import LITELLM_FILTER, TINY_GUARD, Server, answering, litellm, passing, seawall

# A policy that asks nothing of the guard.
UNGUARDED = """\
name = "unguarded"
[[rule]]
name = "none"
where = ["prompt"]
detectors = ["payment_card"]
action = "flag"
"""
# Rules of a mixed policy, in turn; none of them applies to the requests here.
MIX = (
    'threshold = "guard"',
    'detectors = ["email", "iban"]',
    "threshold = 0.9{n:03}",
    "when = 'score > 0.9{n:03} && language != \"en\"'",
    'threshold = {{ default = 0.9{n:03}, th = 0.95 }}',
    'detectors = ["payment_card", "secret"]',
    'threshold = "guard"',
    "when = 'request.model == \"m-{n}\" && size(findings) > 0'",
    "threshold = 0.9{n:03}",
    'detectors = ["crypto_address", "national_id"]',
)
# A server that takes longer for a call by itself is slow.
SLOW_S = 0.01
# The longest round, and how many new connections a second of a round are allowed for.
LONGEST_S, CONNECTS_A_S = 20, 400
# The most connections that LiteLLM gets: beyond them a round would take minutes, and its figures would be the same.
LITELLM_MOST = 256
# Connections of the parts that do not vary them.
SOME = 16
CARD = "Charge 4111 1111 1111 1111, please."

Rows = dict[str, list[dict[str, float]]]


@dataclass
class Bench:
    """What is asked of one run."""

    folder: Path
    rounds: int
    seconds: int
    only: set[str]
    failed: bool = False

    def wants(self, name: str) -> bool:
        return not self.only or name in self.only | {"nginx", "alone"}

    def start(self, stack: contextlib.ExitStack, starts: dict[str, Callable]) -> dict[str, Server]:
        return {name: stack.enter_context(start()) for name, start in starts.items() if self.wants(name)}

    def rounds_of(self, servers: dict[str, Server], orders: Path, request: str, headers: dict, connections: int) -> Rows:
        """Each server's rows. One that fails is told and left out."""
        rows: Rows = {name: [] for name in servers}
        lengths = {}
        for turn in range(-1, self.rounds):
            for name, target in servers.items():
                if name not in rows:
                    continue
                try:
                    if turn < 0:
                        call_s = warm(target, request, headers)
                        lengths[name] = self.length(connections, call_s)
                        if call_s > SLOW_S:
                            continue
                    row = load(target, orders, connections, lengths[name])
                    # The first turn only warms up connections and caches, which is nothing beside a slow server's calls.
                    if turn >= 0:
                        rows[name].append(row)
                except Failed as failure:
                    self.failed = True
                    del rows[name]
                    print(f"FAILED: {failure}", flush=True)
        return rows

    def length(self, connections: int, call_s: float) -> int:
        """Seconds of a round: longer where many have to connect first, and where a slow server would not answer each of them
        several times.
        """
        answers_s = 3 * connections * call_s if call_s > SLOW_S else 0
        return max(self.seconds, min(math.ceil(max(answers_s, connections / CONNECTS_A_S)), LONGEST_S))


def table(title: str, rows: Rows) -> None:
    print(f"\n{title}")
    heads = f"{'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>9} {'RSS MB':>7}"
    print(f"{'':10} {heads} | {'req/s':>7} {'p50+':>7} {'p99+':>7} {'CPU':>7}")
    for name, own in rows.items():
        middle = {key: statistics.median(row[key] for row in own) for key in own[0]}
        figures = f"{middle['rate']:9.0f} {middle['p50']:8.2f} {middle['p99']:8.2f} {middle['cpu']:9.1f} {middle['rss']:7.0f}"
        p50, p99 = (added_ratio(rows, name, key) for key in ("p50", "p99"))
        ratios = f"{ratio(rows, name, 'rate'):7.3f} {p50:7.2f} {p99:7.2f} {ratio(rows, name, 'cpu'):7.2f}"
        print(f"{name:10} {figures} | {ratios}", flush=True)


def ratio(rows: Rows, name: str, key: str, to: str = "nginx") -> float:
    """The median of the ratios in the same round."""
    if name not in rows or to not in rows:
        return float("nan")
    return statistics.median(mine[key] / max(theirs[key], 1e-9) for mine, theirs in zip(rows[name], rows[to], strict=True))


def added_ratio(rows: Rows, name: str, key: str) -> float:
    """What a proxy adds to the latency, beside what nginx adds."""
    if name == "alone" or not {"alone", "nginx"} <= rows.keys():
        return float("nan")
    trios = zip(rows[name], rows["nginx"], rows["alone"], strict=True)
    # wrk tells hundredths of milliseconds. A round in which nginx added none tells nothing.
    pairs = [(mine[key] - base[key], theirs[key] - base[key]) for mine, theirs, base in trios]
    return statistics.median([mine / theirs for mine, theirs in pairs if theirs > 0.02] or [float("nan")])


def curve(title: str, unit: str, costs: dict[str, dict[int, float]]) -> None:
    """Processor time by size, and what one more costs on each stretch: the same everywhere if it grows in proportion."""
    print(f"\n{title}: CPU us a request, and us for one {unit} more since the size before")
    for name, own in costs.items():
        steps, before = [], None
        for size, cost in sorted(own.items()):
            step = f" ({(cost - before[1]) / (size - before[0]):+.3f})" if before else ""
            steps.append(f"{size:>5}: {cost:.0f}{step}")
            before = (size, cost)
        print(f"{name:10} {'   '.join(steps)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", default="1,16,256,4096")
    parser.add_argument("--sizes", default="1,10,100,1000", help="kilobytes of a request")
    parser.add_argument("--rules", default="1,10,100,1000", help="rules of a policy")
    parser.add_argument("--parts", default="connections,sizes,streams,rules,new")
    parser.add_argument("--only", default="", help="contenders besides nginx and alone")
    arguments = parser.parse_args()
    allow_files()
    parts = arguments.parts.split(",")
    connections, sizes, rules = (numbers(told) for told in (arguments.connections, arguments.sizes, arguments.rules))
    print(f"{arguments.rounds} rounds of {arguments.seconds} s; medians, and medians of the ratios to nginx in the same round")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        bench = Bench(Path(name), arguments.rounds, arguments.seconds, set(filter(None, arguments.only.split(","))))
        alone = stack.enter_context(answering(bench.folder))
        own = {"alone": alone, "nginx": stack.enter_context(passing(bench.folder, alone.address))}
        if {"connections", "streams"} & set(parts):
            with contextlib.ExitStack() as those:
                proxies = own | bench.start(those, proxies_before(bench.folder, alone.address))
                if "connections" in parts:
                    by_connections(bench, proxies, connections)
                if "streams" in parts:
                    by_streams(bench, {name: server for name, server in proxies.items() if not name.startswith("litellm")})
        if "sizes" in parts:
            by_sizes(bench, own, sizes)
        if "rules" in parts:
            by_rules(bench, own, rules)
        if "new" in parts and bench.wants("new"):
            by_new(bench, alone, connections)
    return int(bench.failed)


def numbers(told: str) -> list[int]:
    return [int(number) for number in told.split(",")]


def proxies_before(folder: Path, upstream: str) -> dict[str, Callable]:
    """How each proxy in front of the LLM server starts."""
    (folder / "unguarded.toml").write_text(UNGUARDED)
    return {
        "unguarded": lambda: seawall("unguarded", folder, upstream, {"SEAWALL_POLICIES__DIR": str(folder / "unguarded.toml")}),
        "cached": lambda: seawall("cached", folder, upstream, {}),
        "litellm": lambda: litellm("litellm", folder, upstream, ""),
        "litellm-cf": lambda: litellm("litellm-cf", folder, upstream, LITELLM_FILTER),
    }


def by_connections(bench: Bench, servers: dict[str, Server], connections: list[int]) -> None:
    request = body(1)
    if "litellm-cf" in servers:
        refuses(servers["litellm-cf"], servers.get("litellm"))
    for count in connections:
        asked = {name: server for name, server in servers.items() if count <= LITELLM_MOST or not name.startswith("litellm")}
        rows = bench.rounds_of(asked, script(bench.folder), request, {}, count)
        table(f"1 KB, {count} connections", rows)
        if len(asked) < len(servers):
            print(f"LiteLLM is left out: {count} connections would wait for minutes, at the rate of {LITELLM_MOST}")
        elif {"cached", "litellm"} <= rows.keys():
            print(f"cached answers {ratio(rows, 'cached', 'rate', 'litellm'):.0f} times as many calls as litellm", flush=True)


def refuses(filtering: Server, plain: Server | None) -> None:
    """Shows that the filter reads the requests."""
    status, told = filtering.ask(body(1, CARD))
    if status != 400 or b"credit_card" not in told:
        raise SystemExit(f"LiteLLM's filter does not refuse a card number: {status} {told[:300]}")
    if plain and (status := plain.ask(body(1, CARD))[0]) != 200:
        raise SystemExit(f"LiteLLM without a filter refuses a card number: {status}")


def by_streams(bench: Bench, servers: dict[str, Server]) -> None:
    accepts = {"accept": "text/event-stream"}
    for name, server in servers.items():
        status, told = server.ask(body(1, stream=True), accepts)
        if told.count(b"data: ") < 20:
            raise SystemExit(f"{name} does not stream: {status} {told[:300]}")
    rows = bench.rounds_of(servers, script(bench.folder, stream=True), body(1, stream=True), accepts, SOME)
    table(f"streamed answers of 20 pieces, 1 KB, {SOME} connections", rows)


def by_sizes(bench: Bench, own: dict[str, Server], sizes: list[int]) -> None:
    costs: dict[str, dict[int, float]] = {}
    with contextlib.ExitStack() as stack:
        starts = proxies_before(bench.folder, own["alone"].address)
        starts["cached"] = lambda: seawall("sizes", bench.folder, own["alone"].address, TINY_GUARD)
        servers = own | bench.start(stack, starts)
        for size in sizes:
            rows = bench.rounds_of(servers, script(bench.folder, size), body(size), {}, SOME)
            table(f"{size} KB, {SOME} connections", rows)
            for name in rows.keys() - {"alone"}:
                costs.setdefault(name, {})[size] = statistics.median(row["cpu"] for row in rows[name])
    curve(f"cost by size, {SOME} connections", "KB", costs)


def by_rules(bench: Bench, own: dict[str, Server], counts: list[int]) -> None:
    with contextlib.ExitStack() as stack:
        servers = {}
        for count in counts:
            name = f"{count}-rules"
            policy = bench.folder / f"{name}.toml"
            policy.write_text(rules(count))
            environment = TINY_GUARD | {"SEAWALL_POLICIES__DIR": str(policy)}
            servers[name] = stack.enter_context(seawall(name, bench.folder, own["alone"].address, environment))
        rows = bench.rounds_of(own | servers, script(bench.folder), body(1), {}, SOME)
    table(f"rules of a mixed policy, 1 KB, {SOME} connections", rows)
    done = [(count, rows[f"{count}-rules"]) for count in counts if f"{count}-rules" in rows]
    costs = {count: statistics.median(row["cpu"] for row in rounds) for count, rounds in done}
    curve(f"cost by rules, 1 KB, {SOME} connections", "rule", {"cached": costs})


def rules(count: int) -> str:
    """A policy of so many rules."""
    policy = 'name = "mixed"\n'
    for number in range(count):
        asks = MIX[number % len(MIX)].format(n=number % 1000)
        policy += f'[[rule]]\nname = "rule-{number}"\nwhere = ["prompt", "completion"]\n{asks}\naction = "flag"\n'
    return policy


def by_new(bench: Bench, alone: Server, connections: list[int]) -> None:
    """What the guard can do: an answer takes as long as its verdict, and what cannot be judged in time is refused."""
    orders = script(bench.folder, new=True)
    with seawall("new", bench.folder, alone.address, {}) as server:
        warm(server, body(1))
        print("\nverdicts new, 1 KB, one round")
        print(f"{'connections':>11} {'answers/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8} {'RSS MB':>7} {'refused':>8}")
        for count in connections:
            try:
                row = load(server, orders, count, 20, may_refuse=True)
            except Failed as failure:
                bench.failed = True
                print(f"FAILED: {failure}")
                continue
            figures = f"{row['rate']:9.1f} {row['p50']:8.0f} {row['p99']:8.0f} {row['cpu'] / 1000:8.1f} {row['rss']:7.0f}"
            print(f"{count:11} {figures} {row['refused']:8.1%}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
