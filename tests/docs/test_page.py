"""What these tests are to notice, they notice."""

import pytest
from page import Block, anchors, blocks
from stand import shows


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sh", "false"),
        ("sh", "echo $NOT_SET"),
        ("sh", "seawall serve --upstream nowhere"),
        ("console", "$ echo yes\nno\n"),
        ("console", "$ false\n"),
        ("python", "raise SystemExit(1)"),
        ("js", "process.exit(1)"),
        ("toml", '[listen]\nadress = "127.0.0.1:8080"\n'),
        ("toml", 'name = "a"\n[[rule]]\nname = "b"\nwhere = ["prompt"]\naction = "redakt"\n'),
        ("yaml", "endpoints: {custom: [{name: a}]}"),
        ("json", "{"),
        ("text", "printed by nothing"),
        ("bash", "true"),
    ],
)
def test_what_is_wrong_fails(stand, tmp_path, language, text):
    with pytest.raises((AssertionError, ValueError)):
        stand.run([Block(language, text, 1)], tmp_path)


def test_a_file_is_kept_and_a_shell_goes_on(stand, tmp_path):
    kept = Block("toml", '[upstream]\nurl = "https://api.openai.com"\n', 1, file="a/seawall.toml")
    stand.run(
        [kept, Block("sh", "A=$(cat a/seawall.toml)", 5), Block("console", '$ echo "$A"\n[upstream]\nurl = …\n', 9)],
        tmp_path,
    )


@pytest.mark.parametrize(
    ("page", "got", "fits"),
    [
        ("a\n", "a", True),
        ("a  b", "a b\n", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a … c", "a b c", True),
        ("at 2026-01-02 03:04:05", "at 2027-02-03T04:05:06.7Z", True),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
        ("a … c", "a b", False),
        ("…\nd", "a\nb", False),
    ],
)
def test_what_a_page_shows(page, got, fits):
    assert shows(page, got) == fits


def test_comments_say_what_a_block_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` c, d\n\n# A b c d\n\n"
        "<!-- not run here: needs Docker -->\n```sh\nx\n```\n\n"
        "<!-- file: a.toml -->\n\n```toml\n```\n"
    )
    assert blocks(page) == [Block("sh", "x\n", 6, not_run="needs Docker"), Block("toml", "", 12, file="a.toml")]
    assert anchors(page) == {"a-b-c-d", "a-b-c-d-1"}
