"""Who may call, and how much: the SDKs raise what the real APIs have them raise."""

import anthropic
import openai
import pytest

from servers import Script, seawall

ANSWER = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-test",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}  # fmt: skip
MESSAGES = [{"role": "user", "content": "Good morning."}]


@pytest.fixture
def made(tmp_path):
    """A new key, and a Seawall's settings that list it: the very lines that `seawall key new` prints."""
    printed = seawall("key", "new", "ci", "--tenant", "support", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    key, lines = printed.stdout.split("\n", 1)
    assert key not in lines
    (tmp_path / "seawall.toml").write_text(f"{lines}\n[tenants.support]\nrequests_per_minute = 1\n")
    return key


def with_openai(url: str, key: str):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    return client.chat.completions.create(model="gpt-test", messages=MESSAGES)


def with_anthropic(url: str, key: str):
    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
    return client.messages.create(model="claude-test", max_tokens=16, messages=MESSAGES)


def test_unknown_keys_and_too_many_calls(start, made):
    with Script() as script:
        script.says(ANSWER)
        proxy = start(script.url)
        for error, ask in ((openai.AuthenticationError, with_openai), (anthropic.AuthenticationError, with_anthropic)):
            with pytest.raises(error) as failed:
                ask(proxy.url, "sk-of-somebody-else")
            assert "seawall-key" in str(failed.value), "it says where a key belongs"
            with pytest.raises(error):
                ask(proxy.url, made[:-1])
        assert not script.asked
        assert with_openai(proxy.url, made).choices[0].message.content == "Hello."
        for error, ask in ((openai.RateLimitError, with_openai), (anthropic.RateLimitError, with_anthropic)):
            with pytest.raises(error) as failed:
                ask(proxy.url, made)
            assert 1 <= int(failed.value.response.headers["retry-after"]) <= 60
        assert len(script.asked) == 1
        assert made not in proxy.log.read_text(), "no log tells a key"
