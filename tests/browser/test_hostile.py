"""Stored text is hostile by nature: it is read, and never runs. That no dialog opens, no error is written, no other host is
asked and the page's policy is never broken is watched in every test."""

import time

import pytest
from playwright.sync_api import expect

from moves import decide, look_for, open_case, rows, told
from texts import HOSTILE

# A page of text this long opens within this time, in seconds.
MOST_S = 5


def check_still(page):
    """Nothing of the text has become part of the page."""
    assert page.evaluate("window.ran") is None
    for planted in (
        "#grown",
        "img[src=x]",
        "svg[onload]",
        "[onerror]",
        "[onfocus]",
        "a[href^='javascript']",
        "main script",
    ):
        expect(page.locator(planted)).to_have_count(0)


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_shown_as_it_is_written(page, stage, name):
    text, shown = HOSTILE[name]
    case = stage.flag(text, answer=text)
    page.goto("/review")
    expect(rows(page).first).to_be_visible()
    check_still(page)
    open_case(page, case)
    talk = page.get_by_role("region", name="Conversation")
    expect(talk).to_contain_text(shown)
    check_still(page)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, "no text makes the page wider"


def test_letters_that_turn_others_around_are_gone(page, stage):
    open_case(page, stage.flag(HOSTILE["bidi"][0]))
    seen = page.get_by_role("region", name="Conversation").inner_text() + page.title()
    assert not set(seen) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200e\u200f")


def test_what_callers_name_is_text_too(page, stage):
    case = stage.flag("watchword for a model", model="<img src=x onerror='window.ran = 1'>")
    page.goto("/review")
    expect(rows(page).first).to_contain_text("<img src=x")
    check_still(page)
    open_case(page, case)
    expect(page.get_by_role("region", name="The call")).to_contain_text("<img src=x onerror='window.ran = 1'>")
    check_still(page)


def test_what_reviewers_write_is_text_too(page, stage):
    word = stage.word()
    evil = "<img src=x onerror='window.ran = 1'>\u202e"
    open_case(page, stage.flag(f"There is danger in notes, {word}."))
    decide(page, "Wrong", evil)
    expect(page.get_by_role("region", name="Decisions")).to_contain_text("<img src=x onerror='window.ran = 1'>RLO")
    check_still(page)
    page.get_by_text("Make an exception", exact=True).click()
    form = page.get_by_role("form", name="Make an exception")
    form.get_by_label("Owner").fill(evil)
    form.get_by_label("Why").fill(evil)
    form.get_by_role("button", name="Make the exception").click()
    expect(told(page)).to_contain_text("xception")
    page.goto("/review/exceptions")
    card = page.get_by_role("listitem").filter(has_text="<img src=x").first
    expect(card).to_be_visible()
    check_still(page)
    card.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("listitem").filter(has_text="<img src=x")).to_have_count(0)


def test_what_the_address_says_is_text_too(page):
    evil = "\"'><img src=x onerror='window.ran = 1'>"
    look_for(page, evil)
    expect(page.get_by_role("searchbox", name="Search")).to_have_value(evil)
    check_still(page)
    for field in ("rule", "tenant", "language", "state", "after", "since", "score_from"):
        page.watch.meant.append("status of 400")
        page.goto(f"/review?{field}=%22%27%3E%3Cimg+src%3Dx+onerror%3D%27window.ran+%3D+1%27%3E")
        expect(page.get_by_role("main")).to_be_visible()
        check_still(page)


def test_a_megabyte_is_folded_and_can_be_had_whole(page, stage):
    word = stage.word()
    line = "<b>All work</b> and no play makes งานทั้งหมด \u202eyob a llud.\n"
    text = f"watchword {word} " + line * (1_000_000 // len(line.encode()))
    case = stage.flag(text, key="files")
    began = time.monotonic()
    look_for(page, word).get_by_role("link").click()
    talk = page.get_by_role("region", name="Conversation")
    expect(talk).to_contain_text(word)
    assert time.monotonic() - began < MOST_S
    fold = talk.get_by_text("Show the rest")
    expect(fold).to_be_visible()
    fold.click()
    check_still(page)
    with page.expect_download() as download:
        talk.get_by_role("link", name="Download this text").click()
    assert download.value.path().read_text() == text.replace("watchword", "[watched]", 1)
    assert download.value.suggested_filename.endswith(".txt"), "no browser opens it as a page"
    assert stage.seawall.review("show", case).returncode == 0


def test_a_page_says_what_it_may_do(stage, page):
    answer = page.goto("/review")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy and "unsafe-eval" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin"), "a form says where it comes from"
    assert answer.headers["cache-control"] == "no-store"
