"""What a rule masks is masked exactly where it stands; all around it stays."""

import json

import pytest

from servers import ask, chat

CARD = "4111 1111 1111 1111"


def create(client, prompt: str, **more):
    return client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": prompt}], **more)


def test_a_card_in_the_prompt_reaches_the_server_masked(llm, client):
    create(client, f"What is the capital of France? My card is {CARD}, “ok”?")
    (asked,) = llm.asked()
    assert asked["messages"][0]["content"] == "What is the capital of France? My card is [payment card], “ok”?"


def test_the_rest_of_an_edited_request_keeps_its_spelling(scripted):
    script, proxy = scripted
    script.says({"choices": []})
    body = '{"top_p" : 1e0,  "messages":[{"role":"user","content":"caf\\u00e9"},{"role":"user","content":"%s"}], "model":"m"}'
    assert chat(proxy.url, body % f"card {CARD}").headers["seawall-decision"] == "rewrite"
    assert script.asked[-1].decode() == body % "card [payment card]"


WRITTEN = {
    "bare": "4111111111111111",
    "hyphens": "4111-1111-1111-1111",
    "full width": "４１１１１１１１１１１１１１１１",
    "zero width": "4111\u200b1111\u200b1111\u200b1111",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_however_it_is_written(llm, client, written):
    create(client, f"What is the capital of France? Card {written}, thanks.")
    assert llm.asked()[0]["messages"][0]["content"] == "What is the capital of France? Card [payment card], thanks."


def test_a_card_in_an_answer(client, direct):
    expected = create(direct, "Please repeat my card number.").choices[0].message.content.replace(CARD, "[payment card]")
    assert create(client, "Please repeat my card number.").choices[0].message.content == expected


def test_a_card_that_comes_in_pieces(client, direct):
    sent = list(create(direct, "Please repeat my card number.", stream=True))
    arrived = list(create(client, "Please repeat my card number.", stream=True))

    def text(chunks) -> str:
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    assert CARD in text(sent)
    assert text(arrived) == text(sent).replace(CARD, "[payment card]")
    # Masking takes text out of chunks, never chunks out of the stream.
    assert [(chunk.id, chunk.choices[0].finish_reason) for chunk in arrived] == [
        (chunk.id, chunk.choices[0].finish_reason) for chunk in sent
    ]


MASKED = {"card": "[payment card]", "digits": "[payment card]", "amount": 12.5, "note": 'rent, "May"'}


def test_cards_in_a_tool_call_leave_json_behind(client):
    (call,) = create(client, "Please pay for me.").choices[0].message.tool_calls
    assert (call.id, call.function.name) == ("call_pay", "pay")
    assert json.loads(call.function.arguments) == MASKED


def test_cards_in_a_streamed_tool_call_leave_json_behind(client):
    messages = [{"role": "user", "content": "Please pay for me."}]
    with client.chat.completions.stream(model="gpt-test", messages=messages) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert (call.id, call.function.name) == ("call_pay", "pay")
    assert json.loads(call.function.arguments) == MASKED


def test_token_lists_do_not_tell_what_was_masked(scripted):
    script, proxy = scripted
    tokens = [{"token": part, "logprob": -0.1, "bytes": None, "top_logprobs": []} for part in (CARD, ".")]
    choice = {"index": 0, "message": {"role": "assistant", "content": f"{CARD}."}, "logprobs": {"content": tokens}}
    script.says({"id": "c", "choices": [{**choice, "finish_reason": "stop"}]})
    answer = json.loads(chat(proxy.url, ask("Hello")).body)
    assert answer["choices"][0]["message"]["content"] == "[payment card]."
    assert answer["choices"][0]["logprobs"] is None
