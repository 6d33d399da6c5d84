"""Every guarded answer says what was decided."""

import uuid

import pytest

from servers import ask, chat

CAPITAL = "What is the capital of France?"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("decision", "more"),
    [("allow", ""), ("flag", " My NRIC is S1234567D."), ("rewrite", " Card 4111 1111 1111 1111.")],
)
def test_the_decision(proxy, decision, more, stream):
    assert chat(proxy.url, ask(CAPITAL + more, stream=stream)).headers["seawall-decision"] == decision


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_block(proxy, secret, stream):
    assert chat(proxy.url, ask(secret, stream=stream)).headers["seawall-decision"] == "block"


def test_a_whole_answers_own_verdict_counts(proxy):
    assert chat(proxy.url, ask("Please repeat my card number.")).headers["seawall-decision"] == "rewrite"


def test_the_same_question_is_judged_once(guarded, proxy):
    body = ask(f"{CAPITAL} {uuid.uuid4()}")
    assert [chat(guarded.url, body).headers["seawall-cache"] for _ in range(3)] == ["miss", "hit", "hit"]
    # Where no rule asks a guard, none is asked.
    assert chat(proxy.url, body).headers["seawall-cache"] == "none"


def test_each_exchange_has_its_own_id(proxy):
    ids = [chat(proxy.url, ask(CAPITAL)).headers["seawall-request-id"] for _ in range(2)]
    assert ids[0] != ids[1] and all(uuid.UUID(id).version == 7 for id in ids)


def test_the_sdk_shows_them(client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-test", messages=[{"role": "user", "content": CAPITAL}])
    assert raw.headers["seawall-decision"] == "allow"
    assert raw.parse().choices[0].message.content.startswith("Paris")


def test_nobody_else_speaks_for_seawall(llm, proxy):
    answer = chat(proxy.url, ask(CAPITAL), seawall_decision="block", seawall_request_id="mine")
    assert (answer.headers["seawall-decision"], answer.headers["seawall-request-id"] == "mine") == ("allow", False)
    assert [name for name in llm.journal()[0]["headers"] if name.startswith("seawall")] == []
