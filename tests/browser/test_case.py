"""A case: what was said, what was found, and why it was decided so."""

import re

from playwright.sync_api import expect

from moves import look_for, open_case, rows
from texts import ANSWER, PROSE, QUESTION


def test_the_conversation_is_shown_with_why(page, stage):
    open_case(page, stage.flag(QUESTION, ANSWER, stream=True))
    talk = page.get_by_role("region", name="Conversation")
    expect(talk).to_contain_text(QUESTION)
    expect(talk).to_contain_text(ANSWER)
    why = page.get_by_role("region", name="Why")
    expect(why).to_contain_text("unsafe-completion")
    expect(why).to_contain_text("guarded")
    expect(page.get_by_role("region", name="Scores")).to_contain_text(re.compile(r"0\.[5-9]\d|1\.00"))
    expect(page.get_by_role("region", name="The call")).to_contain_text("gpt-test")


def test_the_bad_stretch_of_a_long_text_is_led_to(page, stage):
    harmless = "All of us would like some tea now. " * 1_000
    open_case(page, stage.flag(f"{harmless} There is danger here. {harmless}"))
    page.get_by_role("list", name="The worst stretches").first.get_by_role("link").first.click()
    expect(page.locator(".at:target")).to_be_in_viewport()


def test_what_was_found_is_marked_and_masked(page, stage):
    for prompts in PROSE.values():
        open_case(page, stage.flag(prompts[2]))
        talk = page.get_by_role("region", name="Conversation")
        expect(talk.get_by_role("mark")).to_contain_text("[payment card]")
        expect(talk.get_by_role("mark")).to_contain_text("payment_card")
        expect(talk).not_to_contain_text("4111")


def test_the_callers_other_cases_are_beside_it(page, stage):
    word = stage.word()
    stage.flag(f"There was danger before, {word}.", key="bank")
    open_case(page, stage.flag("There is danger now.", key="bank"))
    others = page.get_by_role("list", name="Other cases of the same caller")
    expect(others).to_contain_text(word)
    others.get_by_role("link").filter(has_text=word).click()
    expect(page.get_by_role("region", name="Conversation")).to_contain_text(word)


def test_one_walks_from_case_to_case_within_what_was_asked(page, stage):
    word = stage.word()
    for number in range(3):
        stage.flag(f"There is danger of kind {number}, {word}.")
    look_for(page, word).nth(1).get_by_role("link").click()
    talk = page.get_by_role("region", name="Conversation")
    expect(talk).to_contain_text("of kind 1")
    page.get_by_role("link", name="Older").click()
    expect(talk).to_contain_text("of kind 0")
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.keyboard.press("k")
    expect(talk).to_contain_text("of kind 1")
    page.keyboard.press("k")
    expect(talk).to_contain_text("of kind 2")
    page.get_by_role("navigation", name="Cases").get_by_role("link", name="Queue").click()
    expect(rows(page)).to_have_count(3)


def test_an_unknown_case_is_told(page):
    page.watch.meant.append("status of 404")
    answer = page.goto("/review/cases/0193-nothing")
    assert answer.status == 404
    expect(page.get_by_role("main")).to_contain_text(re.compile("no (such )?case", re.IGNORECASE))
