"""What reviewers take with them."""

import csv
import io
import json

from moves import decide, look_for, open_case
from texts import HOSTILE


def export(page, kind: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("group", name="Export").get_by_role("link", name=kind).click()
    return download.value.path().read_text()


def test_what_was_asked_for_is_exported_with_its_labels(page, stage):
    word = stage.word()
    cases = [stage.flag(f"There is danger for others to learn from, {number}, {word}.") for number in range(3)]
    for case, verdict in zip(cases, ("Right", "Wrong"), strict=False):
        open_case(page, case)
        decide(page, verdict)
    look_for(page, word)
    lines = [json.loads(line) for line in export(page, "JSONL").splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(cases)
    labels = {line["id"]: line.get("label") for line in lines}
    assert [labels[case] for case in cases] == ["unsafe", "safe", None]
    assert all(word in line["text"] for line in lines)
    told = list(csv.DictReader(io.StringIO(export(page, "CSV"))))
    assert {row["id"]: row["label"] or None for row in told} == labels


def test_no_cell_of_a_table_is_a_formula(page, stage):
    text, shown = HOSTILE["formula"]
    stage.flag(text)
    look_for(page, "evil.example")
    (row, *_) = csv.DictReader(io.StringIO(export(page, "CSV")))
    cells = [cell for cell in row.values() if shown in cell]
    assert cells and not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
