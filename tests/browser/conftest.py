"""What the tests share: a record of real flagged traffic, Chromium, and people of each role who are signed in."""

import os
import re
import shutil
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from stage import NAMES, ROOT, Stage, password

# A proxy of the machine's own must not stand between the tests and loopback.
os.environ["NO_PROXY"] = "127.0.0.1"

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SCREENSHOTS = ROOT / "target" / "screenshots"
PATIENCE_MS = 15_000


class Watch:
    """What no page may do: write errors, break its own policy, run stored text, or ask any other host."""

    def __init__(self, context: BrowserContext, url: str):
        self.home = urlsplit(url).netloc
        self.wrong: list[str] = []
        # Errors that a test means to cause, as patterns.
        self.meant: list[str] = []
        context.on("console", self.console)
        context.on("weberror", lambda error: self.wrong.append(f"error: {error.error}"))
        context.on("dialog", self.dialog)
        context.on("request", self.request)

    def console(self, message):
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text} at {message.location}")

    def dialog(self, dialog):
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def request(self, request):
        asked = urlsplit(request.url)
        if asked.scheme not in ("data", "blob", "about") and asked.netloc != self.home:
            self.wrong.append(f"request to {request.url}")

    def check(self):
        assert [wrong for wrong in self.wrong if not any(re.search(meant, wrong) for meant in self.meant)] == []


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    """A Seawall whose record is filled. Tests that change it flag texts of their own."""
    stage = Stage(tmp_path_factory.mktemp("stage"))
    try:
        stage.fill()
        yield stage
    finally:
        stage.close()


@pytest.fixture(scope="session")
def chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "these tests need Chromium: `make browser` installs Debian's"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def visit(stage, chromium):
    """Opens a browser of nobody's; whatever it does wrong fails the test."""
    opened = []

    def visit(**options) -> Page:
        options = {**DESKTOP, "base_url": stage.url, "reduced_motion": "reduce", "locale": "en", **options}
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        watch = Watch(context, stage.url)
        opened.append((context, watch))
        page = context.new_page()
        page.watch = watch
        return page

    yield visit
    for context, _ in opened:
        context.close()
    for _, watch in opened:
        watch.check()


@pytest.fixture(scope="session")
def sessions():
    """Browsers' memories after each person's signing in, which is slow on purpose."""
    return {}


@pytest.fixture
def be(visit, sessions):
    """Opens the queue as somebody: `viewer`, `reviewer`, `second` (another reviewer) or `admin`."""

    def be(who: str, **options) -> Page:
        if who not in sessions:
            page = visit()
            sign_in(page, NAMES[who])
            sessions[who] = page.context.storage_state()
        page = visit(storage_state=sessions[who], **options)
        page.goto("/review")
        return page

    return be


@pytest.fixture
def page(be):
    """A reviewer at a desk."""
    return be("reviewer")


@pytest.fixture
def phone(be):
    """A reviewer on the way."""
    return be("reviewer", **PHONE)


def sign_in(page: Page, name: str, secret: str | None = None):
    page.goto("/review")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password").fill(password(name) if secret is None else secret)
    page.get_by_role("button", name="Sign in", exact=True).click()
    if secret is None:
        page.get_by_role("search", name="Cases").wait_for()
