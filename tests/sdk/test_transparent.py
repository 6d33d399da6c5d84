"""Safe traffic passes byte for byte, both ways."""

import pytest

from servers import ask, call, chat

# Headers of one connection, of one answer, and of the body's framing.
OWN = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "x-request-id"}

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
CALLS = {
    "text": ask("What is the capital of France?"),
    "reasoning": ask("Please think aloud: two and two?"),
    "tool calls": ask("How is the weather in Yangon?", tools=TOOLS),
}


@pytest.mark.parametrize("body", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("rules", ["proxy", "guarded"])
def test_a_safe_answer_arrives_as_it_was_sent(aimock, request, rules, stream, body):
    proxy = request.getfixturevalue(rules)
    body = {**body, "stream": stream, "stream_options": {"include_usage": True}}
    sent, arrived = chat(aimock.url, body), chat(proxy.url, body)
    assert arrived.status == sent.status == 200
    assert arrived.body == sent.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_only_seawalls_own_headers_are_added(aimock, proxy, stream):
    body = ask("What is the capital of France?", stream=stream)
    sent, arrived = chat(aimock.url, body).headers, chat(proxy.url, body).headers
    added = {name for name in arrived if name.startswith("seawall-")}
    assert added == {"seawall-request-id", "seawall-decision", "seawall-cache"}
    assert arrived.keys() - sent.keys() <= added | OWN
    kept = {name: value for name, value in arrived.items() if name not in added | OWN}
    assert kept == {name: value for name, value in sent.items() if name not in OWN}


def test_a_request_arrives_with_its_own_spelling(scripted):
    script, proxy = scripted
    script.says({"choices": []})
    body = (
        '{ "temperature" : 1.0, "top_p":1e0, "seed": -0, "max_tokens":1E+2,\r\n\t"model":"m\\u002d1",'
        ' "future": {"x": [1.50, 1e-7]}, "messages":[ {"content":"a \\"quiet\\" d\\u00e4y \\/ ☀","role":"user" } ] } '
    ).encode()
    assert chat(proxy.url, body).status == 200
    assert script.asked[-1] == body


def test_fields_that_seawall_does_not_know_reach_the_server(llm, proxy):
    body = ask("What is the capital of France?", temperature=1.0, top_k=40, vendor={"depth": [1, None, "two"]})
    assert chat(proxy.url, body).status == 200
    assert llm.asked() == [body]


def test_the_list_of_models_passes(aimock, proxy):
    sent, arrived = call(aimock.url, "GET", "/v1/models"), call(proxy.url, "GET", "/v1/models")
    assert (arrived.status, arrived.body) == (200, sent.body)
