"""Nobody looks without signing in, and each role sees what it may do."""

import pytest
from playwright.sync_api import expect

from conftest import sign_in
from moves import open_case
from servers import call
from stage import password


@pytest.mark.parametrize("path", ["/review", "/review/charts", "/review/exceptions", "/review/audit", "/review?q=danger"])
def test_every_page_asks_to_sign_in_first(visit, path):
    page = visit()
    page.watch.meant.append("status of 401")
    page.goto(path)
    expect(page.get_by_label("Password")).to_be_visible()
    expect(page.get_by_role("list", name="Cases")).to_have_count(0)


def test_a_wrong_password_is_told_and_opens_nothing(visit):
    page = visit()
    page.watch.meant.append("status of 40[13]")
    for name, secret in (("ravi", "not the one"), ("nobody", "whatever")):
        sign_in(page, name, secret)
        expect(page.get_by_role("alert")).to_be_visible()
        said = page.get_by_role("alert").inner_text()
        assert secret not in said and "ravi" not in said, "it does not say which of the two is wrong"
    assert not page.context.cookies()


def test_who_signed_in_is_named_and_leaves(visit, stage):
    page = visit()
    sign_in(page, "ravi")
    (cookie,) = page.context.cookies()
    kept = {key: cookie[key] for key in ("name", "httpOnly", "secure", "sameSite", "path")}
    assert kept == {"name": "seawall_session", "httpOnly": True, "secure": True, "sameSite": "Strict", "path": "/"}
    assert cookie["value"] not in page.content() and page.evaluate("document.cookie") == ""

    page.get_by_label("Account").click()
    expect(page.get_by_text("ravi", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    again = call(stage.url, "GET", "/review", cookie=f"seawall_session={cookie['value']}")
    assert again.status != 200, "the old cookie opens nothing"


def test_after_signing_in_people_are_where_they_wanted(visit):
    page = visit()
    page.goto("/review/charts?days=7")
    page.get_by_label("Name", exact=True).fill("vera")
    page.get_by_label("Password").fill(password("vera"))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Charts", exact=True)).to_be_visible()


@pytest.mark.parametrize(
    # How many they see of what it takes.
    ("who", "decides", "audits"),
    [("viewer", 0, 0), ("reviewer", 1, 0), ("admin", 1, 1)],
)
def test_each_role_sees_what_it_may_do(be, stage, who, decides, audits):
    page = be(who)
    expect(page.get_by_role("link", name="Audit")).to_have_count(audits)
    expect(page.get_by_label("Select all cases on this page")).to_have_count(decides)
    open_case(page, stage.flag(f"There is danger for a {who}."))
    expect(page.get_by_role("form", name="Your decision")).to_have_count(decides)
    page.watch.meant.append("status of 403")
    page.goto("/review/audit")
    expect(page.get_by_role("heading", name="Audit", exact=True)).to_have_count(audits)


def test_a_form_from_elsewhere_is_refused(page, stage):
    """What another site's page could send with the cookie, were it not for SameSite."""
    case = stage.flag("There is danger in forms of others.")
    (cookie,) = page.context.cookies()
    held = {"cookie": f"seawall_session={cookie['value']}", "content_type": "application/x-www-form-urlencoded"}
    for origin in ({"origin": "http://evil.example"}, {"origin": stage.url}, {}):
        refused = call(stage.url, "POST", f"/review/cases/{case}/decide", "verdict=right", **held, **origin)
        assert refused.status == 403, (origin, refused.body)
    open_case(page, case)
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_clients_see_nothing_of_it(stage):
    for path in ("/review", "/review/assets/review.js", "/api/v1/cases"):
        answer = call(stage.seawall.url, "GET", path)
        assert answer.status >= 400 and b"<html" not in answer.body, path
