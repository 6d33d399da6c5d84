"""How it looks, on a desk and on a phone, by day and by night: pictures for people, and what can be measured of them."""

import re

import pytest
from playwright.sync_api import expect

from conftest import DESKTOP, PHONE, SCREENSHOTS
from moves import choose, look_for, rows, told

SIZES = {"desktop": DESKTOP, "phone": PHONE}
# The smallest thing that a thumb meets, in pixels.
THUMB = 24


@pytest.fixture(params=["light", "dark"])
def theme(request):
    return request.param


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


def picture(page, *names: str):
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"the page is {wider} pixels wider than the screen"
    # A screen as high as the page, so that what keeps to the screen's foot is at the page's.
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": max(height, page.viewport_size["height"])})
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{'-'.join(names)}.png")


def test_signing_in(visit, theme, size):
    page = visit(color_scheme=theme, **SIZES[size])
    page.goto("/review")
    picture(page, "sign-in", size, theme)


def test_the_queue(be, theme, size):
    page = be("reviewer", color_scheme=theme, **SIZES[size])
    expect(rows(page).first).to_be_visible()
    picture(page, "queue", size, theme)


def test_a_case(be, theme, size):
    page = be("reviewer", color_scheme=theme, **SIZES[size])
    look_for(page, "take the lit road").first.get_by_role("link").click()
    expect(page.get_by_role("region", name="Conversation")).to_be_visible()
    picture(page, "case", size, theme)


@pytest.mark.parametrize("words", ["เพื่อนบ้านบอก", "အိမ်နီးချင်း", "அண்டை வீட்டார்"], ids=["th", "my", "ta"])
def test_a_case_in_other_scripts(be, words, request):
    page = be("reviewer", **PHONE)
    look_for(page, words).first.get_by_role("link").click()
    expect(page.get_by_role("region", name="Conversation")).to_be_visible()
    picture(page, "case", request.node.callspec.id, "phone")


@pytest.fixture(scope="session")
def opinions():
    return []


@pytest.fixture
def judged(be, opinions):
    """A record of which a part is decided, not always by one mind."""
    if opinions:
        return
    for who, rule, verdict in (
        ("reviewer", "unsafe-prompt", "Right"),
        ("reviewer", "card", "Wrong"),
        ("second", "unsafe-prompt", "Right"),
        ("second", "card", "Right"),
    ):
        page = be(who)
        page.goto("/review?state=all")
        choose(page, "Rule", rule)
        for row in rows(page).all()[::2]:
            row.get_by_role("checkbox").check()
        page.get_by_role("form", name="Selected cases").get_by_role("button", name=verdict).click()
        expect(told(page)).to_be_visible()
    opinions.append("told")


@pytest.mark.parametrize("room", ["charts", "exceptions", "audit"])
def test_other_rooms(be, judged, room, theme, size):
    page = be("admin", color_scheme=theme, **SIZES[size])
    page.goto(f"/review/{room}")
    expect(page.get_by_role("heading", name=re.compile(room, re.IGNORECASE)).first).to_be_visible()
    picture(page, room, size, theme)


def test_the_charts_have_figures(page, judged):
    page.goto("/review/charts")
    expect(page.get_by_role("img", name=re.compile(r"\d+ flags in \d+ days"))).to_be_visible()
    for chart in ("By rule", "By language", "Reviewers", "Scores by rule"):
        expect(page.get_by_role("region", name=chart, exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="By language")).to_contain_text("th")
    expect(page.get_by_text(re.compile(r"threshold 0\.50")).first).to_be_visible()
    page.get_by_role("region", name="By rule", exact=True).get_by_role("link", name="card").click()
    expect(rows(page).first).to_contain_text("card")


def test_people_choose_their_theme(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    first = page.evaluate(colour)
    page.get_by_role("button", name="Switch between light and dark").click()
    other = page.evaluate(colour)
    assert other != first
    page.goto("/review/charts")
    assert page.evaluate(colour) == other, "it is kept"
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(colour) == first
    page.get_by_role("button", name="Switch between light and dark").click()
    page.context.clear_cookies()
    page.goto("/review")
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.evaluate(colour) == other, "also before signing in"


def test_a_phone_has_all_of_it(phone, stage):
    word = stage.word()
    stage.flag(f"There is danger on the way, {word}.")
    look_for(phone, word, "Open").get_by_role("link").tap()
    form = phone.get_by_role("form", name="Your decision")
    for button in form.get_by_role("button").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= THUMB, button
    form.get_by_role("button", name="Right", exact=True).tap()
    expect(phone.get_by_role("region", name="Decisions")).to_contain_text("ravi")
    phone.goto("/review")
    phone.get_by_role("button", name="Filters").tap()
    expect(phone.get_by_label("Rule", exact=True)).to_be_visible()
