"""The servers of the benchmarks: an LLM server that answers at once, and the proxies that are put in front of it."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rate import ROOT, SEAWALL, TICKS, free_port

NGINX = Path("/usr/sbin/nginx")
LITELLM = Path(sys.executable).parent / "litellm"
# A guard of few weights: where every verdict is known, which guard gave it makes no difference, but this one gave it sooner.
TINY_GUARD = {"SEAWALL_GUARD__DIR": str(ROOT / "tests/fixtures/guard"), "SEAWALL_GUARD__THREADS": "1"}
PATH = "/v1/chat/completions"
PROSE = "The ferry leaves at nine, the market opens at ten, and lunch is by the river. "

HTTP = """\
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    client_max_body_size 16m; client_body_buffer_size 2m;
    keepalive_requests 100000000;
    {http}
}}
"""
ANSWERING = """server {{ listen 127.0.0.1:{port} backlog=8192;
        if ($http_accept = text/event-stream) {{ rewrite ^ /stream last; }}
        location / {{ default_type application/json; return 200 '{whole}'; }}
        location = /stream {{ internal; default_type text/event-stream; return 200 '{stream}'; }} }}"""
PASSING = """upstream llm {{ server {upstream}; keepalive 4096; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port} backlog=8192;
        location / {{ proxy_pass http://llm; proxy_http_version 1.1; proxy_set_header Connection ""; {more} }} }}"""

# One process, no database, nothing sent home, no line a request. The filter asks its patterns of every prompt.
LITELLM_MODEL = """\
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://{upstream}/v1", api_key: none}}
litellm_settings: {{telemetry: false}}
"""
LITELLM_FILTER = """\
guardrails:
  - guardrail_name: filter
    litellm_params:
      guardrail: litellm_content_filter
      mode: pre_call
      default_on: true
      patterns:
        - {pattern_type: prebuilt, pattern_name: credit_card, action: BLOCK}
        - {pattern_type: prebuilt, pattern_name: email, action: BLOCK}
        - {pattern_type: prebuilt, pattern_name: us_ssn, action: BLOCK}
"""
LITELLM_ENVIRONMENT = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
}


@dataclass
class Server:
    """A server on a port, with the processes that it runs in."""

    name: str
    port: int
    process: subprocess.Popen

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_s(self) -> float:
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.pids()]
        return sum(int(own[11]) + int(own[12]) for own in fields) / TICKS

    def rss_mb(self) -> float:
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def ask(self, body: str, headers: dict | None = None) -> tuple[int, bytes]:
        """Status and answer of one call."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", PATH, body, {"content-type": "application/json"} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def running(
    name: str, port: int, command: list, folder: Path, environment: dict | None = None, patience_s: float = 120
) -> Iterator[Server]:
    log = folder / f"{name}.log"
    # Nothing here is to be asked through a proxy of the system's.
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | (environment or {})
    with log.open("wb") as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=out, cwd=folder, env=environment)
    try:
        end = time.monotonic() + patience_s
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{name}: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield Server(name, port, process)
    finally:
        process.terminate()
        process.wait(patience_s)


def nginx(name: str, folder: Path, http: str, port: int):
    own = folder / name
    own.mkdir()
    config = own / "nginx.conf"
    config.write_text(HTTP.format(folder=own, http=http))
    return running(name, port, [NGINX, "-c", config, "-e", "stderr"], folder)


def answering(folder: Path):
    """An LLM server that answers at once: whole, or as a stream if the call accepts one."""
    port = free_port()
    return nginx("alone", folder, ANSWERING.format(port=port, whole=answer(), stream=streamed_answer()), port)


def passing(folder: Path, upstream: str, more: str = ""):
    """nginx's own proxy."""
    port = free_port()
    return nginx("nginx", folder, PASSING.format(port=port, upstream=upstream, more=more), port)


def seawall_command(port: int, upstream: str, store: Path) -> list:
    own = ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
    return [SEAWALL, "serve", *own, "--upstream", f"http://{upstream}", "--store", f"sqlite://{store}"]


def seawall(name: str, folder: Path, upstream: str, environment: dict):
    port = free_port()
    return running(name, port, seawall_command(port, upstream, folder / f"{name}.db"), folder, environment)


def litellm(name: str, folder: Path, upstream: str, more: str):
    port = free_port()
    config = folder / f"{name}.yaml"
    config.write_text(LITELLM_MODEL.format(upstream=upstream) + more)
    command = [LITELLM, "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1, "--telemetry", False]
    return running(name, port, command, folder, LITELLM_ENVIRONMENT)


def answer() -> str:
    message = {"role": "assistant", "content": (PROSE * 9)[:700]}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 160, "total_tokens": 180},
        }
    )


def streamed_answer() -> str:
    """The events of an answer of twenty pieces, as nginx's configuration writes them."""
    deltas = [({"content": word}, None) for word in re.findall(r"\S+ ", PROSE * 2)[:20]]
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        for delta, finish in [*deltas, ({}, "stop")]
    ]
    events = [json.dumps({**chunk, "created": 1, "model": "m"}, separators=(",", ":")) for chunk in chunks]
    return "".join(f"data: {event}\\n\\n" for event in [*events, "[DONE]"])
