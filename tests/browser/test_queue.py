"""The queue: what narrows it, finds in it, and walks through it."""

import re
from itertools import chain

import pytest
from playwright.sync_api import expect

from moves import choose, look_for, rows, search
from texts import HOSTILE, PROSE


def test_the_newest_is_first(be, stage):
    word = stage.word()
    for number in range(3):
        stage.flag(f"There is danger number {number} for {word}.")
    page = be("reviewer")
    for row, number in zip(rows(page).all(), (2, 1, 0), strict=False):
        expect(row).to_contain_text(f"danger number {number} for {word}")
        expect(row).to_contain_text("unsafe-prompt")
        expect(row).to_contain_text("Blocked")


@pytest.mark.parametrize(
    ("label", "choice", "holds"),
    [
        ("Rule", "card", r"card"),
        ("Rule", "contact", r"contact"),
        ("Decision", "Rewritten", r"Rewritten"),
        ("Decision", "Shadow", r"Shadow"),
        ("Tenant", "finance", r"finance"),
        ("Direction", "Response", r"unsafe-completion|watched"),
        ("Language", "th", r"[\u0e00-\u0e7f]{5}"),
        ("Language", "my", r"[\u1000-\u109f]{5}"),
        ("Language", "ta", r"[\u0b80-\u0bff]{5}"),
    ],
)
def test_a_choice_narrows_it(page, label, choice, holds):
    page.goto("/review?state=all")
    choose(page, label, choice)
    expect(rows(page).first).to_be_visible()
    for row in rows(page).all():
        expect(row).to_contain_text(re.compile(holds))
    expect(page.get_by_label(label, exact=True).locator("option:checked")).to_have_text(choice)
    page.get_by_role("link", name="Clear filters").click()
    expect(page.get_by_label(label, exact=True)).to_have_value("")


def test_a_score_narrows_it(page):
    page.goto("/review?state=all")
    page.get_by_label("Score from").fill("0.5")
    page.get_by_label("Score from").press("Enter")
    page.wait_for_url(lambda url: "score_from=0.5" in url)
    scores = [float(score) for row in rows(page).all() for score in re.findall(r"score\s+([\d.]+)", row.inner_text())]
    assert scores and min(scores) >= 0.5


def test_times_narrow_it(page, stage):
    word = stage.word()
    stage.flag(f"There is danger just now, {word}.")
    page.goto("/review?state=all")
    choose(page, "Time", "Last hour")
    expect(rows(page).first).to_contain_text(word)
    assert not page.get_by_role("listitem").get_by_text("d ago").all()


@pytest.mark.parametrize(
    "words",
    ["HOUSE AT THE END OF OUR", "เพื่อนบ้านบอก", "အိမ်နီးချင်း", "அண்டை வீட்டார்", "take the lit road"],
    ids=["en", "th", "my", "ta", "answer"],
)
def test_search_finds_parts_of_words_in_every_script(page, words):
    look_for(page, words).last.get_by_role("link").click()
    expect(page.get_by_role("region", name="Conversation")).to_contain_text(words, ignore_case=True)


@pytest.mark.parametrize("words", ["%_*", '"', 'danger" OR 1=1 --', "NEAR(a b)", "<script>", "ไม่มีคำนี้ที่ไหน"])
def test_a_search_is_taken_as_it_is_written(page, words):
    found = look_for(page, words)
    expect(found.first.or_(page.get_by_role("heading", name="Nothing matches")).or_(page.get_by_role("alert"))).to_be_visible()
    expect(page.get_by_role("searchbox", name="Search")).to_have_value(words)
    texts = [text for text, _ in HOSTILE.values()] + [*chain.from_iterable(PROSE.values())]
    assert (found.count() > 0) == any(words.lower() in text.lower() for text in texts if len(words) > 2)


def test_where_nothing_matches_it_says_so(page):
    search(page, "a word that nobody wrote")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Clear the filters").click()
    expect(rows(page).first).to_be_visible()


def test_new_cases_are_told_of_as_they_come(page, stage):
    expect(rows(page).first).to_be_visible()
    word = stage.word()
    stage.flag(f"There is danger that comes as you look, {word}.")
    news = page.get_by_role("link", name=re.compile(r"^\d+ new$"))
    expect(news).to_be_visible()
    # The list stays as it is until somebody asks.
    expect(rows(page).filter(has_text=word)).to_have_count(0)
    news.click()
    expect(rows(page).first).to_contain_text(word)


def test_keys_walk_through_it(page):
    links = rows(page).get_by_role("link")
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("x")
    expect(rows(page).nth(0).get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Escape")
    expect(rows(page).nth(0).get_by_role("checkbox")).not_to_be_checked()
    page.keyboard.press("o")
    expect(page.get_by_role("region", name="Conversation")).to_be_visible()
    page.keyboard.press("g")
    expect(rows(page).first).to_be_visible()


def test_keys_help_and_search(page):
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.keyboard.type("jxr?")
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("jxr?")


def test_it_works_without_scripts(be, stage):
    word = stage.word()
    stage.flag(f"There is danger without scripts, {word}.")
    page = be("reviewer", java_script_enabled=False)
    page.get_by_label("Rule", exact=True).select_option(label="unsafe-prompt")
    page.get_by_label("Search").fill(word)
    page.get_by_role("button", name="Apply").click()
    expect(rows(page)).to_have_count(1)
    rows(page).get_by_role("link").click()
    page.get_by_role("form", name="Your decision").get_by_role("button", name="Right", exact=True).click()
    expect(page.get_by_role("region", name="Decisions")).to_contain_text("ravi")
