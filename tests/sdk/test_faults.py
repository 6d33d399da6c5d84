"""A fault of the server stays a fault: told in the client's own shape, never passed off as a good answer."""

import socket

import openai
import pytest

from conftest import sdk
from servers import ask, chat


def create(client, prompt: str, **more):
    return client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": prompt}], **more)


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens, held so that nobody comes."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_server_that_is_down(start, nobody):
    with pytest.raises(openai.InternalServerError) as failed:
        create(sdk(start(nobody).url), "What is the capital of France?")
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_unreachable")


def test_a_server_that_hangs_up_before_it_answers(client):
    with pytest.raises(openai.InternalServerError) as failed:
        create(client, "Please hang up at once.")
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_unreachable")


def test_a_server_that_answers_no_json(client):
    with pytest.raises(openai.InternalServerError) as failed:
        create(client, "Please garble it.")
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_unreadable")


def test_a_stream_that_breaks_off_is_seen_to_break_off(client):
    text = ""
    with pytest.raises(openai.APIConnectionError):
        for chunk in create(client, "Please hang up midway.", stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text.startswith("This answer stops in the middle of a sentence.")
    assert "nobody may take" not in text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("prompt", "error", "status"),
    [("Is it too many?", openai.RateLimitError, 429), ("Please fall over.", openai.InternalServerError, 500)],
    ids=["429", "500"],
)
def test_the_servers_own_error_passes(aimock, proxy, client, prompt, error, status, stream):
    sent, arrived = (chat(url, ask(prompt, stream=stream)) for url in (aimock.url, proxy.url))
    assert (arrived.status, arrived.body) == (sent.status, sent.body)
    assert arrived.headers.get("retry-after") == sent.headers.get("retry-after")
    with pytest.raises(error) as failed:
        create(client, prompt, stream=stream)
    assert failed.value.status_code == status


def test_seawall_answers_on_after_a_fault(client):
    with pytest.raises(openai.InternalServerError):
        create(client, "Please hang up at once.")
    assert create(client, "What is the capital of France?").choices[0].finish_reason == "stop"
