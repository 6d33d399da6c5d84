"""What people do on the page, by the names that screen readers say."""

from playwright.sync_api import Locator, Page, expect


def rows(page: Page) -> Locator:
    """The queue's cases."""
    return page.get_by_role("list", name="Cases", exact=True).get_by_role("listitem")


def look_for(page: Page, words: str, state: str = "All") -> Locator:
    """Searches all of the record; the rows that come."""
    page.goto("/review")
    page.get_by_role("navigation", name="State").get_by_role("link", name=state, exact=True).click()
    expect(page.get_by_role("navigation", name="State").get_by_role("link", name=state, exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    search(page, words)
    return rows(page)


def search(page: Page, words: str):
    field = page.get_by_role("searchbox", name="Search")
    field.fill(words)
    field.press("Enter")
    page.wait_for_url(lambda url: "q=" in url)


def choose(page: Page, label: str, choice: str):
    """Narrows the queue by one of its choices."""
    page.get_by_label(label, exact=True).select_option(label=choice)
    field = "since" if label == "Time" else label.lower()
    page.wait_for_url(lambda url: f"{field}=" in url)


def open_case(page: Page, case: str):
    page.goto(f"/review/cases/{case}")
    page.get_by_role("region", name="Conversation").wait_for()


def decide(page: Page, verdict: str, note: str = ""):
    """On a case's own page."""
    form = page.get_by_role("form", name="Your decision")
    if note:
        form.get_by_label("Note").fill(note)
    form.get_by_role("button", name=verdict, exact=True).click()
    expect(form.get_by_role("button", name=verdict, exact=True)).to_have_attribute("aria-pressed", "true")


def told(page: Page) -> Locator:
    """What was just done."""
    return page.get_by_role("status").filter(has=page.locator("p"))
