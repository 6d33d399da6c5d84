"""Every API's official SDK sees what its users expect: safe answers as the server gave them, refusals in its own words."""

import pytest

from apis import APIS
from servers import Seawall, Small

ASKED = "Please leave keys out of the question."
TOLD = "This answer held a key and was stopped."
# Ollama's SDK cuts lines at U+2028, which the answer on France holds.
PARIS = "Please think aloud"
MASKED = "Of course: “[payment card]”, valid until 12/27. Order 20240001 is paid.\nThank you!"
LEAD = "Here is how the deployment works, step by step. First the image is built. Then the tests run on it. " * 6

pytestmark = pytest.mark.parametrize("kind", APIS, ids=lambda kind: kind.__name__)
each_way = pytest.mark.parametrize("way", ["whole", "stream"])


def seen(kind, url, way, prompt):
    return getattr(kind(url), way)(prompt)


class Stand:
    """An LLM server with two Seawalls in front: one that answers with messages, one with errors."""

    def __init__(self, llm, folder):
        self.llm = llm
        self.proxy = Seawall(folder("messages"), llm.url, "detectors.toml")
        self.errors = Seawall(folder("errors"), llm.url, "errors.toml")

    def stop(self):
        self.proxy.stop()
        self.errors.stop()


@pytest.fixture(scope="session")
def stands(aimock, tmp_path_factory):
    with Small() as small:
        stands = {True: Stand(aimock, tmp_path_factory.mktemp), False: Stand(small, tmp_path_factory.mktemp)}
        yield stands
        for stand in stands.values():
            stand.stop()


@pytest.fixture
def stand(stands, kind):
    stands[kind.in_aimock].llm.forget()
    return stands[kind.in_aimock]


@each_way
def test_safe_traffic_is_as_without_seawall(kind, way, stand):
    answer = seen(kind, stand.proxy.url, way, PARIS)
    assert answer == seen(kind, stand.llm.url, way, PARIS)
    assert answer[0].endswith("Four.") and answer[1] == kind.done


@each_way
def test_a_blocked_prompt_is_told_and_goes_no_further(kind, way, stand, secret):
    assert seen(kind, stand.proxy.url, way, f"Does this key work: {secret}?") == (ASKED, kind.prompt_refused)
    assert stand.llm.journal() == []


@each_way
def test_a_blocked_answer_is_told(kind, way, stand, secret):
    content = f"{LEAD}The key is {secret}, keep it."
    stand.llm.answers(f"tell {secret[-9:]}", {"content": content}, chunkSize=5, streamingProfile={"tps": 400})
    text, end = seen(kind, stand.proxy.url, way, f"Please tell {secret[-9:]}")
    assert end == kind.answer_refused
    assert text.endswith(TOLD)
    assert f"{LEAD}The key is ".startswith(text.removesuffix(TOLD))


@each_way
def test_a_card_is_masked(kind, way, stand):
    assert seen(kind, stand.proxy.url, way, "Please repeat my card") == (MASKED, kind.done)


@each_way
def test_an_error_is_the_sdks_own(kind, way, stand, secret):
    with pytest.raises(kind.refused) as refused:
        seen(kind, stand.errors.url, way, f"Does this key work: {secret}?")
    assert "Keys do not belong here." in str(refused.value)
    assert stand.llm.journal() == []


@each_way
def test_an_error_for_an_answer_is_the_sdks_own(kind, way, stand, secret):
    stand.llm.answers(f"tell {secret[-9:]}", {"content": f"The key is {secret}."}, chunkSize=5)
    prompt = f"Please tell {secret[-9:]}"
    if way == "stream" and kind.broken is None:
        assert seen(kind, stand.errors.url, way, prompt) == ("", "ERROR")
        return
    with pytest.raises(kind.broken if way == "stream" else kind.refused):
        seen(kind, stand.errors.url, way, prompt)
