"""What the tests of the docs share: LLM servers that stand for everybody's, and the stand on which pages run."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "sdk"))
os.environ["NO_PROXY"] = "127.0.0.1"

# The programs of tests are started in one way.
from servers import Llm, Small
from stand import Stand

CALM = "Talk to him calmly first and tell him when you need to sleep. "
TURNED = "Honestly, scum like him deserves to burn. Let's set fire to his house while he sleeps. Nobody will know. "
# What the models of the pages answer, by words of the prompt.
ANSWERS = {
    "make tea": "Boil water, pour it over the leaves, and wait for three minutes.",
    "noisy neighbour": CALM + TURNED,
    "write to": "I have written to [EMAIL_1].",
    "": "I see.",
}
NAMED = [
    "https://api.openai.com",
    "https://api.anthropic.com",
    "https://generativelanguage.googleapis.com",
    "https://api.cohere.com",
    "http://127.0.0.1:11434",
]
BEDROCK = "https://bedrock-runtime.us-east-1.amazonaws.com"
RAN, NOT_RUN = [], []


@pytest.fixture(scope="session")
def stand(tmp_path_factory):
    with Llm(tmp_path_factory.mktemp("aimock")) as llm, Small() as small:
        for prompt, answer in ANSWERS.items():
            for server in (llm, small):
                # Slow enough that a stream is judged on its way.
                server.answers(prompt, {"content": answer}, chunkSize=8, streamingProfile={"tps": 400})
        stand = Stand(tmp_path_factory.mktemp("stand"), {**dict.fromkeys(NAMED, llm.url), BEDROCK: small.url})
        yield stand
        stand.stop()


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"docs: {len(RAN)} blocks ran or were checked, {len(NOT_RUN)} did not run:")
    for place, why in NOT_RUN:
        terminalreporter.write_line(f"  {place}: {why}")
