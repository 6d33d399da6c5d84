"""The official SDK gets the same from Seawall as from the server behind it."""

import asyncio

import openai
import pydantic
import pytest

from conftest import sdk

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
YANGON = [{"role": "user", "content": "How is the weather in Yangon?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}}
FUNCTION = {"name": "get_weather", "description": "Today's weather", "parameters": PARAMETERS}
WEATHER = [{"type": "function", "function": FUNCTION}]


class City(pydantic.BaseModel):
    city: str
    people: int


def test_a_completion(client, direct):
    def asked(client):
        return client.chat.completions.create(model="gpt-test", messages=FRANCE)

    assert asked(client) == asked(direct)


def test_a_stream_with_its_usage(client, direct):
    def asked(client):
        return list(
            client.chat.completions.create(
                model="gpt-test", messages=FRANCE, stream=True, stream_options={"include_usage": True}
            )
        )

    chunks = asked(client)
    assert chunks == asked(direct)
    assert chunks[-1].usage.total_tokens == 47


def test_async_calls_at_once(proxy, direct):
    async def asked():
        async with sdk(proxy.url, openai.AsyncOpenAI) as client:
            calls = (client.chat.completions.create(model="gpt-test", messages=FRANCE) for _ in range(20))
            return await asyncio.gather(*calls)

    expected = direct.chat.completions.create(model="gpt-test", messages=FRANCE)
    assert asyncio.run(asked()) == [expected] * 20


def test_an_async_stream(proxy, direct):
    async def asked():
        async with sdk(proxy.url, openai.AsyncOpenAI) as client:
            stream = await client.chat.completions.create(model="gpt-test", messages=FRANCE, stream=True)
            return [chunk async for chunk in stream]

    assert asyncio.run(asked()) == list(direct.chat.completions.create(model="gpt-test", messages=FRANCE, stream=True))


def test_a_tool_is_called_and_its_result_told(client, direct):
    def asked(client):
        first = client.chat.completions.create(model="gpt-test", messages=YANGON, tools=WEATHER).choices[0].message
        results = [{"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 31}'} for call in first.tool_calls]
        messages = [*YANGON, first, *results]
        return first, client.chat.completions.create(model="gpt-test", messages=messages, tools=WEATHER)

    first, last = asked(client)
    assert (first, last) == asked(direct)
    assert last.choices[0].message.content == "It is 31 °C in Yangon."


def test_streamed_tool_calls_are_put_together(client, direct):
    def asked(client):
        with client.chat.completions.stream(model="gpt-test", messages=YANGON, tools=WEATHER) as stream:
            return stream.get_final_completion()

    completion = asked(client)
    assert completion == asked(direct)
    assert [call.id for call in completion.choices[0].message.tool_calls] == ["call_1", "call_2"]


def test_an_answer_in_a_schema_is_parsed(client):
    messages = [{"role": "user", "content": "Name a city, as a record."}]
    parsed = client.chat.completions.parse(model="gpt-test", messages=messages, response_format=City)
    assert parsed.choices[0].message.parsed == City(city="Hanoi", people=8)


def choice(index: int, **fields) -> dict:
    return {"index": index, "finish_reason": None, **fields}


def test_several_choices(scripted):
    script, proxy = scripted
    texts = ["One way is to walk.", "Another is to swim."]
    script.says(
        {
            "id": "chatcmpl-two",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "gpt-test",
            "choices": [choice(i, message={"role": "assistant", "content": text}) for i, text in enumerate(texts)],
        }
    )
    completion = sdk(proxy.url).chat.completions.create(model="gpt-test", messages=FRANCE, n=2)
    assert [choice.message.content for choice in completion.choices] == texts


def test_several_streamed_choices_are_judged_apart(scripted):
    script, proxy = scripted
    # The card's digits come in turns with the other choice's words: only choice by choice do they make a number.
    pairs = zip(["My card: 4111 ", "1111 1111", " 1111.", " Bye"], ["I ", "have ", "no ", "card."])
    chunks = [choice(i, delta={"content": text}) for pair in pairs for i, text in enumerate(pair)]
    chunks += [choice(i, delta={}) | {"finish_reason": "stop"} for i in range(2)]
    envelope = {"id": "chatcmpl-two", "object": "chat.completion.chunk", "created": 1767225600, "model": "gpt-test"}
    script.streams(*({**envelope, "choices": [chunk]} for chunk in chunks))

    texts, ends = ["", ""], [None, None]
    for chunk in sdk(proxy.url).chat.completions.create(model="gpt-test", messages=FRANCE, n=2, stream=True):
        for part in chunk.choices:
            texts[part.index] += part.delta.content or ""
            ends[part.index] = part.finish_reason or ends[part.index]
    assert texts == ["My card: [payment card]. Bye", "I have no card."]
    assert ends == ["stop", "stop"]


def test_models_are_listed(client, direct):
    assert [model.id for model in client.models.list()] == [model.id for model in direct.models.list()]


@pytest.mark.parametrize("path", ["v1", "openai/deployments/gpt-test"], ids=["openai", "azure"])
def test_the_path_may_have_a_prefix(proxy, path):
    client = openai.OpenAI(base_url=f"{proxy.url}/{path}", api_key="none", max_retries=0)
    completion = client.chat.completions.create(model="gpt-test", messages=FRANCE)
    assert completion.choices[0].message.content.startswith("Paris")
