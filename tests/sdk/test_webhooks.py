"""Webhooks, as a receiver with the Standard Webhooks library sees them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from servers import Seawall, ask, chat, wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver():
    """A server that notes what it is told."""
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.calls = calls
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_flagged_exchange_is_told_and_signed(receiver, aimock, secret, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    hook = f'[[review.webhooks]]\nurl = "http://127.0.0.1:{receiver.server_port}/hook"\nsecret = {{ file = "secret" }}\n'
    with Seawall(tmp_path, aimock.url, "detectors.toml", hook) as proxy:
        answer = chat(proxy.url, ask(f"Does this key work: {secret}?"))
        ((body, headers),) = wait_until(lambda: receiver.calls, "the webhook")
    event = Webhook(SECRET).verify(body, headers)
    assert event["type"] == "case.flagged"
    assert (event["data"]["id"], event["data"]["decision"]) == (answer.headers["seawall-request-id"], "block")
    assert event["data"]["rules"] == ["secret-asked"]
    assert secret.encode() not in body and "prompt" not in event["data"]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(json.dumps(event).encode() + b" ", headers)
