"""A page of the docs as this test reads it: its code blocks in order, what comments before them say, and its links."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent.parent
PARSER = MarkdownIt("commonmark").enable("table")
# A comment just before a block says why it cannot run here, or which file the reader is told to make of it.
NOT_RUN = re.compile(r"<!-- not run here: (.+) -->")
FILE = re.compile(r"<!-- file: (\S+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    language: str
    text: str
    line: int
    # Why it does not run, if it does not.
    not_run: str | None = None
    # The file that it is, if the reader is told to keep it.
    file: str | None = None


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page."""
    found, comment = [], ""
    for token in PARSER.parse(page.read_text()):
        if token.type == "fence":
            not_run, file = NOT_RUN.search(comment), FILE.search(comment)
            found.append(
                Block(token.info.strip(), token.content, token.map[0] + 1, not_run and not_run[1], file and file[1])
            )
        comment = token.content if token.type == "html_block" else ""
    return found


def links(page: Path) -> list[str]:
    """Where the page's links and images lead."""
    inlines = [token for token in PARSER.parse(page.read_text()) if token.type == "inline"]
    children = [child for token in inlines for child in token.children]
    ends = [child.attrGet("href") or child.attrGet("src") for child in children if child.type in ("link_open", "image")]
    return [str(end) for end in ends]


def anchors(page: Path) -> set[str]:
    """What a link to this page may name after `#`, as GitHub makes it of headings."""
    tokens = PARSER.parse(page.read_text())
    found: set[str] = set()
    for opened, inline in pairwise(tokens):
        if opened.type != "heading_open":
            continue
        words = "".join(child.content for child in inline.children if child.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.add(f"{slug}-{again}" if again else slug)
    return found
