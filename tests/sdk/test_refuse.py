"""What cannot be read unambiguously or judged at all is refused, in OpenAI's error shape, and never sent on."""

import json

import openai
import pytest

from servers import ask, call, chat

PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def parts(*parts) -> dict:
    return {"model": "gpt-test", "messages": [{"role": "user", "content": list(parts)}]}


def message(**fields) -> dict:
    return {"model": "gpt-test", "messages": [{"content": "Hi", **fields}]}


HIDDEN = '{"model":"m","messages":[{"role":"user","content":"Hi"}],"messages":[{"role":"user","content":"Boo"}]}'
MALFORMED = {
    "a part of unknown type": parts({"type": "hologram", "hologram": "x"}),
    "an unknown role": message(role="oracle"),
    "no role": message(),
    "a message twice": HIDDEN,
    "a key in another case": '{"model":"m","messages":[{"role":"user","content":"Hi","Content":"Boo"}]}',
    "bytes that are no UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "half a surrogate pair": '{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}',
    "no JSON": '{"model":"m","messages":[',
    "two values": json.dumps(ask("Hi")) + json.dumps(ask("Boo")),
    "too deep": '{"model":"m","messages":[{"role":"user","content":' + "[" * 5000 + "]" * 5000 + "}]}",
    "no messages": {"model": "gpt-test"},
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_can_be_read_in_two_ways(llm, proxy, body):
    answer = chat(proxy.url, body)
    assert (answer.status, answer.error()["code"]) == (400, "malformed_request")
    assert answer.error().keys() == {"message", "type", "param", "code"}
    assert answer.error()["type"] == "invalid_request_error"
    assert llm.journal() == []


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_what_a_text_guard_cannot_judge(llm, proxy, kind):
    answer = chat(proxy.url, parts({"type": "text", "text": "What is this?"}, {"type": kind, kind: {"data": "AAAA"}}))
    assert (answer.status, answer.error()["code"]) == (400, "unscorable_content")
    assert kind in answer.error()["message"]
    assert llm.journal() == []


def test_the_sdk_raises_bad_request(client):
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, PIXEL]}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="gpt-test", messages=messages)
    assert refused.value.code == "unscorable_content"


def test_an_unknown_path_is_not_found_and_says_how_to_pass_it(client, llm):
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="gpt-test", input="Hi")
    assert refused.value.code == "unknown_path"
    assert "upstream.pass" in refused.value.body["message"]
    assert llm.journal() == []


@pytest.mark.parametrize("path", ["/v1//chat/completions", "/v1/x/../chat/completions", "/v1/chat%2fcompletions"])
def test_a_path_that_servers_read_in_different_ways(llm, proxy, path):
    answer = call(proxy.url, "POST", path, json.dumps(ask("Hi")))
    assert (answer.status, answer.error()["code"]) == (400, "ambiguous_path")
    assert llm.journal() == []


def test_an_encoding_that_is_not_read(llm, proxy):
    answer = chat(proxy.url, b"\x1f\x9d", content_encoding="compress")
    assert (answer.status, answer.error()["code"]) == (415, "unsupported_encoding")
    assert llm.journal() == []
