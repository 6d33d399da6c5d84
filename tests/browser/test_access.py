"""Whether everybody can use it: axe's rules on every page, and the whole way by keyboard."""

import pytest
from playwright.sync_api import expect

from conftest import DESKTOP, PHONE, sign_in
from moves import look_for, rows
from stage import HERE

AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def check(page):
    """Fails with what axe finds wrong, and where."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run({ runOnly: rules, preload: false })", RULES)
    wrong = [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    assert not wrong, "\n".join(wrong)
    assert len(found["passes"]) > 10, "it did look"


@pytest.fixture(params=["desktop light", "desktop dark", "phone light", "phone dark"])
def look(request):
    size, theme = request.param.split()
    return {**(DESKTOP if size == "desktop" else PHONE), "color_scheme": theme}


def test_signing_in(visit, look):
    page = visit(**look)
    page.goto("/review")
    check(page)


def test_not_being_let_in(visit):
    page = visit()
    page.watch.meant.append("status of 40[13]")
    sign_in(page, "stranger", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)


def test_the_queue_and_a_case(be, look):
    page = be("reviewer", **look)
    expect(rows(page).first).to_be_visible()
    check(page)
    page.keyboard.press("?")
    check(page)
    page.keyboard.press("Escape")
    look_for(page, "take the lit road").first.get_by_role("link").click()
    expect(page.get_by_role("region", name="Conversation")).to_be_visible()
    check(page)
    page.get_by_text("Make an exception", exact=True).first.click()
    check(page)


@pytest.mark.parametrize("room", ["charts", "exceptions", "audit"])
def test_other_rooms(be, look, room):
    page = be("admin", **look)
    page.goto(f"/review/{room}")
    check(page)


def test_a_long_text(page, stage):
    page.goto(f"/review/cases/{stage.flag('watchword ' + 'on and on ' * 30_000, key='files')}")
    expect(page.get_by_role("link", name="Download this text")).to_be_visible()
    check(page)


def test_where_nothing_is_found(page):
    page.goto("/review?q=nobody+wrote+this")
    check(page)


def test_the_content_is_one_key_away(page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_what_was_done_is_read_aloud(page, stage):
    """A region that is there before its words come, or screen readers stay silent."""
    page.goto(f"/review/cases/{stage.flag('There is danger to be heard.')}")
    heard = page.get_by_role("status").first
    expect(heard).to_be_attached()
    assert heard.inner_text() == ""
    page.keyboard.press("r")
    expect(heard).not_to_be_empty()
