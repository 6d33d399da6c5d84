"""Every link within the repository leads somewhere, to the heading too."""

from urllib.parse import unquote, urlsplit

import pytest
from page import COMING, ROOT, anchors, links

OTHERS = {".venv", "node_modules"}
GLOBS = ["README.md", "deploy/**/*.md", "onnx/*.md", "onnx/export/*.md", "onnx/guards/*/*.md", "tests/**/*.md"]
PAGES = sorted({page for glob in GLOBS for page in ROOT.glob(glob) if not OTHERS & set(page.parts)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if target in COMING and not target.exists():
            continue
        assert target.exists(), f"{link} leads nowhere"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{link}: no such heading, but {sorted(anchors(target))}"
