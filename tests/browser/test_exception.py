"""A false positive becomes an exception, and the proxy honours it."""

from playwright.sync_api import expect

from moves import open_case, told


def test_an_exception_lets_the_very_same_text_pass_until_it_is_removed(page, stage):
    prompt = f"Is there danger in the word {stage.word()}?"
    refused = stage.ask(prompt)
    assert refused.headers["seawall-decision"] == "block" and b"No such prompts." in refused.body
    open_case(page, refused.headers["seawall-request-id"])
    page.get_by_text("Make an exception", exact=True).click()
    form = page.get_by_role("form", name="Make an exception")
    form.get_by_label("Owner").fill("Safety team")
    form.get_by_label("Why").fill("A question about language.")
    form.get_by_role("button", name="Make the exception").click()
    expect(told(page)).to_contain_text("xception")

    # The answer is judged with the prompt that it answers, which flags it; it comes all the same.
    assert b"As you wish." in stage.ask(prompt).body
    assert b"As you wish." in stage.ask(prompt, key="bank").body
    assert stage.ask(f"{prompt} Now.").headers["seawall-decision"] == "block", "any other text is judged as ever"

    page.get_by_role("link", name="Exceptions").click()
    card = page.get_by_role("list", name="Exceptions").get_by_role("listitem").filter(has_text="Safety team")
    expect(card).to_contain_text("guarded")
    expect(card).to_contain_text("A question about language.")
    expect(card).to_contain_text("days left")
    card.get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0)
    assert stage.ask(prompt).headers["seawall-decision"] == "block"


def test_what_was_masked_cannot_be_excepted(page, stage):
    open_case(page, stage.flag("Pay for the danger with 4111 1111 1111 1111."))
    expect(page.get_by_role("region", name="Exception")).to_contain_text("None can be made")
    expect(page.get_by_role("form", name="Make an exception")).to_have_count(0)
