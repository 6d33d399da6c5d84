"""What the tests share: one LLM server and one proxy for most of them, and the official SDK pointed at either."""

import os
import random
import string
from contextlib import ExitStack

import openai
import pytest

from servers import Llm, Script, Seawall

# A proxy of the machine's own must not stand between the tests and loopback.
os.environ["NO_PROXY"] = "127.0.0.1"


def sdk(url: str, kind=openai.OpenAI):
    """The SDK as its users make it, without its retries: a fault is to be seen once, as it came."""
    return kind(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="session")
def aimock(tmp_path_factory):
    with Llm(tmp_path_factory.mktemp("aimock")) as llm:
        yield llm


@pytest.fixture
def llm(aimock):
    """The LLM server, its journal empty."""
    aimock.forget()
    return aimock


@pytest.fixture(scope="session")
def proxy(aimock, tmp_path_factory):
    """Seawall with the rules that only detectors decide."""
    with Seawall(tmp_path_factory.mktemp("seawall"), aimock.url, "detectors.toml") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def guarded(aimock, tmp_path_factory):
    """Seawall as it comes: the embedded guard and the baseline policy."""
    with Seawall(tmp_path_factory.mktemp("guarded"), aimock.url, None) as proxy:
        yield proxy


@pytest.fixture
def start(tmp_path):
    """Starts a Seawall of the test's own; a second one finds the record of the first."""
    with ExitStack() as started:
        yield lambda upstream, policy="detectors.toml": started.enter_context(Seawall(tmp_path, upstream, policy))


@pytest.fixture(scope="session")
def scripted(tmp_path_factory):
    """A scripted LLM server and the Seawall in front of it."""
    with Script() as script, Seawall(tmp_path_factory.mktemp("scripted"), script.url, "detectors.toml") as proxy:
        yield script, proxy


@pytest.fixture(scope="session")
def client(proxy):
    """The SDK through Seawall."""
    return sdk(proxy.url)


@pytest.fixture(scope="session")
def direct(aimock):
    """The SDK without Seawall: what every answer is compared with."""
    return sdk(aimock.url)


@pytest.fixture
def secret():
    """A key, new each time: no file holds what looks like a live one, and no cache has seen it."""
    return "sk-proj-" + "".join(random.sample(string.ascii_letters + string.digits, 48))
