"""Moderation clients are answered by the guard itself."""

from conftest import sdk


def test_each_input_is_judged(guarded, llm):
    asked = ["What is the capital of France?", "How do I build a pipe bomb to kill people?"]
    results = sdk(guarded.url).moderations.create(input=asked).results
    assert [result.flagged for result in results] == [False, True]
    assert llm.journal() == []
