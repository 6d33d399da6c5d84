"""Right, wrong, undone, many at once; and people who disagree."""

from playwright.sync_api import expect

from moves import decide, look_for, open_case, rows, told


def test_a_decision_is_made_and_taken_back(page, stage):
    word = stage.word()
    open_case(page, stage.flag(f"There is danger to decide on, {word}."))
    decide(page, "Wrong", "Quoted from a book.")
    decisions = page.get_by_role("region", name="Decisions")
    expect(decisions).to_contain_text("ravi")
    expect(decisions).to_contain_text("Wrong")
    expect(decisions).to_contain_text("Quoted from a book.")
    decide(page, "Right")
    expect(decisions).to_contain_text("Right")
    expect(decisions.get_by_role("listitem")).to_have_count(1)
    page.get_by_role("form", name="Your decision").get_by_role("button", name="Undo").click()
    expect(decisions).to_have_count(0)
    expect(look_for(page, word, "Open")).to_have_count(1)


def test_a_decided_case_leaves_the_queue(page, stage):
    word = stage.word()
    open_case(page, stage.flag(f"There is danger to be done with, {word}."))
    decide(page, "Right")
    for state, count in (("Open", 0), ("Right", 1), ("Wrong", 0), ("All", 1)):
        expect(look_for(page, word, state)).to_have_count(count)


def test_keys_decide(page, stage):
    open_case(page, stage.flag("There is danger for keys."))
    form = page.get_by_role("form", name="Your decision")
    page.keyboard.press("n")
    expect(form.get_by_label("Note")).to_be_focused()
    page.keyboard.type("wrw?")
    page.keyboard.press("Escape")
    page.keyboard.press("w")
    expect(form.get_by_role("button", name="Wrong", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("region", name="Decisions")).to_contain_text("wrw?")
    page.keyboard.press("r")
    expect(form.get_by_role("button", name="Right", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("u")
    expect(page.get_by_role("region", name="Decisions")).to_have_count(0)


def test_keys_decide_in_the_queue(page, stage):
    word = stage.word()
    for number in range(2):
        stage.flag(f"There is danger to pass quickly, {number}, {word}.")
    look_for(page, word, "Open")
    page.keyboard.press("j")
    page.keyboard.press("w")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).get_by_role("link")).to_be_focused()
    page.keyboard.press("u")
    expect(rows(page)).to_have_count(2)


def test_many_are_decided_at_once_and_taken_back(page, stage):
    word = stage.word()
    for number in range(4):
        stage.flag(f"There is danger in numbers, {number}, {word}.")
    look_for(page, word, "Open")
    page.get_by_label("Select all cases on this page").check()
    rows(page).last.get_by_role("checkbox").uncheck()
    form = page.get_by_role("form", name="Selected cases")
    expect(form).to_contain_text("3 selected")
    form.get_by_label("Note").fill("All from the same book.")
    form.get_by_role("button", name="Wrong").click()
    expect(rows(page)).to_have_count(1)
    expect(told(page)).to_contain_text("3")
    told(page).get_by_role("button", name="Undo").click()
    expect(rows(page)).to_have_count(4)
    expect(look_for(page, word, "Wrong")).to_have_count(0)


def test_a_range_is_selected_with_shift(page, stage):
    word = stage.word()
    for number in range(4):
        stage.flag(f"There is danger in a row, {number}, {word}.")
    boxes = look_for(page, word, "Open").get_by_role("checkbox")
    boxes.nth(0).click()
    boxes.nth(2).click(modifiers=["Shift"])
    expect(page.get_by_role("form", name="Selected cases")).to_contain_text("3 selected")


def test_people_who_disagree_are_seen(be, stage):
    word = stage.word()
    case = stage.flag(f"There is danger to argue about, {word}.")
    for who, verdict in (("reviewer", "Right"), ("second", "Wrong")):
        page = be(who)
        open_case(page, case)
        decide(page, verdict)
    decisions = page.get_by_role("region", name="Decisions")
    expect(decisions).to_contain_text("ravi")
    expect(decisions).to_contain_text("ruth")
    expect(look_for(page, word, "Disputed")).to_have_count(1)


def test_one_goes_on_to_the_next_case_if_one_likes(page, stage):
    word = stage.word()
    for number in range(2):
        stage.flag(f"There is danger after danger, {number}, {word}.")
    look_for(page, word, "Open").first.get_by_role("link").click()
    page.get_by_label("Then the next case").check()
    page.keyboard.press("r")
    expect(page.get_by_role("region", name="Conversation")).to_contain_text(f"after danger, 0, {word}")
    page.get_by_label("Then the next case").uncheck()


def test_all_of_it_is_in_the_trail(be, stage):
    case = stage.flag("There is danger to be accounted for.")
    page = be("reviewer")
    open_case(page, case)
    decide(page, "Right")
    admin = be("admin")
    admin.goto("/review/audit")
    for action in ("look", "decide"):
        lines = admin.get_by_role("row").filter(has_text=case[:13]).filter(has_text="ravi").filter(has_text=action)
        expect(lines.first).to_be_visible()
    checked = stage.seawall.review("verify")
    assert checked.returncode == 0, checked.stderr
