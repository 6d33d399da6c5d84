"""Every code block of the docs runs, or is checked, as a reader would have it; a page's blocks in their order."""

import pytest
from conftest import NOT_RUN, RAN
from page import ROOT, blocks

PAGES = [ROOT / "README.md", *sorted((ROOT / "deploy" / "docs").rglob("*.md"))]
REASONS = {
    "needs Docker",
    "needs Kubernetes",
    "needs systemd",
    "needs a GPU",
    "needs a model's weights",
    "needs a terminal",
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder for each page; the guides share one, and with it a Seawall that is asked for in the same words."""
    guides = tmp_path_factory.mktemp("guides")
    return lambda page: guides if page.parent.name == "guides" else tmp_path_factory.mktemp(page.stem)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, stand, folders):
    here = []
    for block in blocks(page):
        if block.not_run:
            assert block.not_run in REASONS, f"line {block.line}: `{block.not_run}` is no reason of {sorted(REASONS)}"
            NOT_RUN.append((f"{page.relative_to(ROOT)}:{block.line}", block.not_run))
        else:
            here.append(block)
    stand.run(here, folders(page))
    RAN.extend(here)
