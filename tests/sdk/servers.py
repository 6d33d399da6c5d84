"""The programs of a test: each on a loopback port of its own choice, waited for by its log, ended by its own process id."""

import http.client
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# A debug build loads the guard slowly on a busy machine.
PATIENCE_S = 60


def seawall_binary() -> Path:
    if named := os.environ.get("SEAWALL"):
        return Path(named).resolve()
    built = [ROOT / "target" / kind / "seawall" for kind in ("release", "debug")]
    return next((path for path in built if path.exists()), built[0])


def clean_environment() -> dict[str, str]:
    """What a developer has set for a seawall of their own is not for the one under test."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SEAWALL")}


def seawall(*arguments, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess:
    """A command that ends by itself."""
    command = [seawall_binary(), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=clean_environment(), input=stdin, capture_output=True, text=True, timeout=PATIENCE_S
    )


def wait_until(done, what: str, patience: float = PATIENCE_S):
    """The first true answer of `done`, asked again and again."""
    end = time.monotonic() + patience
    while not (answer := done()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience} s for {what}")
        time.sleep(0.01)
    return answer


def free_ports(count: int) -> list[int]:
    """For programs that cannot choose ports themselves."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class Program:
    """A server in a process of its own."""

    def __init__(self, command: list, folder: Path, ready: str):
        self.folder = folder
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=folder, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.ready = wait_until(lambda: self.said(ready), f"`{ready}` of {command[0]}")
        except BaseException:
            self.stop()
            raise

    def said(self, pattern: str) -> re.Match | None:
        text = self.log.read_text(errors="replace")
        found = re.search(pattern, text)
        if not found and self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}: {text}")
        return found

    def signal(self, signal: int):
        self.process.send_signal(signal)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Llm(Program):
    """aimock: an LLM server of other people's making, with the fixtures beside this file."""

    def __init__(self, folder: Path):
        command = HERE / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
        arguments = ["--host", "127.0.0.1", "--port", 0, "--fixtures", HERE / "fixtures", "--validate-on-load"]
        super().__init__(["node", command, *arguments], folder, r"listening on (http://127\.0\.0\.1:\d+)")
        self.url = self.ready[1]

    def answers(self, prompt: str, response: dict, **options):
        """Adds an answer that no file may hold, such as one with a key in it."""
        fixture = {"match": {"userMessage": prompt}, "response": response, **options}
        added = call(self.url, "POST", "/__aimock/fixtures", json.dumps({"fixtures": [fixture]}))
        assert added.status == 200, added.body

    def journal(self) -> list[dict]:
        """What it was asked since `forget`, the newest last."""
        return json.loads(call(self.url, "GET", "/__aimock/journal").body)

    def asked(self) -> list[dict]:
        """The bodies of the journal, without aimock's own marks in them."""
        return [{key: value for key, value in entry["body"].items() if key[0] != "_"} for entry in self.journal()]

    def forget(self):
        call(self.url, "POST", "/__aimock/reset/journal")


class Seawall(Program):
    """`seawall serve`, with its record in its own folder."""

    def __init__(self, folder: Path, upstream: str, policy: str | None, settings: str = ""):
        if settings:
            (folder / "seawall.toml").write_text(settings)
        self.store = f"sqlite://{folder / 'seawall.db'}"
        arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", upstream, "--store", self.store]
        if policy:
            arguments += ["--policies", HERE / "policies" / policy]
        super().__init__([seawall_binary(), "serve", *arguments], folder, r'\{.*"seawall is listening on .*\}')
        line = json.loads(self.ready[0])
        self.url, self.admin = (f"http://{line[key]}" for key in ("address", "admin"))

    def review(self, command: str, *arguments) -> subprocess.CompletedProcess:
        return seawall("review", command, "--store", self.store, *arguments, cwd=self.folder)

    def cases(self) -> list[dict]:
        """The record, the newest first."""
        listed = self.review("list", "--json")
        assert listed.returncode == 0, listed.stderr
        return [json.loads(line) for line in listed.stdout.splitlines()]


class Script:
    """An LLM server that notes the very bytes it is asked and answers the very bytes it is told: aimock keeps parsed JSON,
    in which `1.0` is `1`, and gives one choice only."""

    def __init__(self):
        self.asked: list[bytes] = []
        self.content_type, self.answer = "application/json", b"{}"
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                script.asked.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-type", script.content_type)
                self.send_header("content-length", str(len(script.answer)))
                self.end_headers()
                self.wfile.write(script.answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def says(self, answer: dict):
        self.content_type, self.answer = "application/json", json.dumps(answer).encode()

    def streams(self, *chunks: dict):
        events = [json.dumps(chunk) for chunk in chunks] + ["[DONE]"]
        self.content_type, self.answer = "text/event-stream", "".join(f"data: {event}\n\n" for event in events).encode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Small:
    """An LLM server for the two APIs that aimock does not speak as their SDKs read them: OpenAI's legacy completions and
    Bedrock's Converse with its event stream."""

    PIECE = 5

    def __init__(self):
        self.asked, self.known = [], {}
        for path in sorted((HERE / "fixtures").glob("*.json")):
            for fixture in json.loads(path.read_text())["fixtures"]:
                self.known[fixture["match"]["userMessage"]] = fixture["response"].get("content")
        small = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                small.asked.append(body)
                prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"][0]["text"]
                text = next(text for words, text in small.known.items() if words in prompt)
                pieces = [text[at : at + small.PIECE] for at in range(0, len(text), small.PIECE)]
                if "prompt" in body:
                    kind, answer = small.completion(text, pieces, body.get("stream"))
                else:
                    kind, answer = small.converse(text, pieces, self.path.endswith("-stream"))
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def completion(text: str, pieces: list[str], stream: bool) -> tuple[str, bytes]:
        def body(text, end):
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": end}
            return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-test", "choices": [choice]}

        if not stream:
            return "application/json", json.dumps(body(text, "stop")).encode()
        events = [json.dumps(body(piece, None)) for piece in pieces] + [json.dumps(body("", "stop")), "[DONE]"]
        return "text/event-stream", "".join(f"data: {event}\n\n" for event in events).encode()

    @staticmethod
    def converse(text: str, pieces: list[str], stream: bool) -> tuple[str, bytes]:
        usage = {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1}}
        if not stream:
            message = {"message": {"role": "assistant", "content": [{"text": text}]}}
            return "application/json", json.dumps({"output": message, "stopReason": "end_turn", **usage}).encode()
        deltas = [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}) for piece in pieces]
        events = [
            ("messageStart", {"role": "assistant"}),
            *deltas,
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", usage),
        ]
        return "application/vnd.amazon.eventstream", b"".join(aws_event(name, data) for name, data in events)

    def answers(self, prompt: str, response: dict, **_):
        self.known[prompt] = response["content"]

    def journal(self) -> list[dict]:
        return self.asked

    def forget(self):
        self.asked.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def aws_event(name: str, data: dict) -> bytes:
    """A message of an AWS event stream: lengths, headers, payload, and a checksum after each of the two halves."""
    headers = b""
    for key, value in ((":event-type", name), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = json.dumps(data).encode()
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


class Answer:
    """An HTTP answer as it came: nothing decoded but the transfer encoding."""

    def __init__(self, response: http.client.HTTPResponse):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def error(self) -> dict:
        return json.loads(self.body)["error"]


def call(url: str, method: str, path: str, body: bytes | str = b"", **headers: str) -> Answer:
    """A call below the SDK, which would parse, retry and decode."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    try:
        raw = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, raw, {"content-type": "application/json", **named} if raw else named)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def chat(url: str, body: dict | bytes | str, **headers: str) -> Answer:
    raw = json.dumps(body) if isinstance(body, dict) else body
    return call(url, "POST", "/v1/chat/completions", raw, **headers)


def ask(prompt: str, **more) -> dict:
    """The smallest chat call."""
    return {"model": "gpt-test", "messages": [{"role": "user", "content": prompt}], **more}
