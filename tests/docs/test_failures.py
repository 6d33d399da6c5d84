"""The page of failures names every code that the program has, with its status, and no other."""

import re
from http import HTTPStatus

import pytest
from page import ROOT

PAGE = (ROOT / "deploy" / "docs" / "failures.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \|", re.MULTILINE)
APIS = {"Anthropic": "anthropic", "Gemini": "gemini", "Bedrock": "bedrock"}


def source(path: str, begin: str) -> str:
    """A function of the program's source."""
    text = (ROOT / "src" / path).read_text()
    return re.search(rf"^( *)[^\n]*{re.escape(begin)}.*?^\1\}}", text, re.MULTILINE | re.DOTALL)[0]


def status(name: str) -> str:
    return str(HTTPStatus[{"PAYLOAD_TOO_LARGE": "REQUEST_ENTITY_TOO_LARGE"}.get(name, name)].value)


def table(heading: str) -> set[tuple[str, str]]:
    section = re.search(rf"^## {heading}$.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[0]
    return set(ROW.findall(section))


def test_what_clients_see():
    arms = source("exchange/answer.rs", "fn kind(")
    codes = {(code, status(name)) for name, code in re.findall(r'\(StatusCode::(\w+), "(\w+)"\)', arms)}
    assert len(codes) > 15
    assert re.findall(r'\(\*status, "(\w+)"\)', arms) == ["upstream_unreadable"]
    assert table("What clients see") == codes


def test_what_the_review_api_says():
    arms = source("console/failure.rs", "fn code(")
    codes = {(code, status(name)) for name, code in re.findall(r'StatusCode::(\w+) => "(\w+)"', arms)}
    rest = re.findall(r'_ => "(\w+)"', arms)
    assert len(codes) > 5
    assert len(rest) == 1
    assert table("What the review API says") == codes | {(rest[0], "500")}


@pytest.mark.parametrize(("api", "module"), APIS.items())
def test_what_each_api_calls_them(api, module):
    row = re.search(rf"^\| {api} \|.*$", PAGE, re.MULTILINE)[0]
    arms = re.findall(r'^ +([\d |]+) => "(\w+)"', source(f"dialect/{module}/response.rs", "fn error("), re.MULTILINE)
    assert len(arms) > 4
    for statuses, kind in arms:
        assert f"`{kind}` ({', '.join(statuses.split(' | '))})" in row
