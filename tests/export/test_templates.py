"""How a model is asked: the profiles' sequences, against Gemma's own tokenizer and chat template."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from export import chat, profile
from export.chat import Chat
from export.refused import Refused
from export.words import Words
from tokenizers import Tokenizer

from conftest import FIXTURES, TINY

TOKENIZERS = Path(__file__).parent / "node_modules/@lenml"
GEMMA = TOKENIZERS / "tokenizer-gemma3/models"
TEA = "How do I make tea?"
# Fig. 23 of arXiv 2602.01618 around TEA, as Gemma 3's tokenizer has it.
TEA_IDS = [
    2, 105, 2364, 107, 3048, 659, 496, 45211, 573, 32187, 12969, 1534, 14464, 532, 32050, 21706, 236761, 17770, 496,
    2864, 699, 496, 3246, 2430, 532, 496, 3072, 699, 614, 32050, 236792, 16326, 236764, 6054, 3363, 506, 3246, 2430,
    236789, 236751, 2864, 563, 6338, 653, 25793, 236761, 107, 36623, 2430, 236787, 3910, 776, 564, 1386, 11115, 236881,
    106, 107, 105, 4368, 107,
]  # fmt: skip


@pytest.fixture(scope="module")
def words():
    return Words(GEMMA / "tokenizer.json")


def sequence(name: str, task: str, template: str, published: Chat | None, words: Words) -> tuple[str, str]:
    wanted = profile.load(name)
    made, remark = chat.sequence(wanted, wanted.templates[template][task], published, words, template)
    return made.text, remark


def test_sea_guard_on_gemmas_own_tokenizer(words):
    made, remark = sequence("sea-guard-12b", "prompt", "fig23", Chat.load(GEMMA), words)
    assert "makes the profile's sequence" in remark
    assert words.fill(words.pieces(made), {"text": TEA}) == TEA_IDS


@pytest.mark.parametrize(
    ("name", "base", "labels", "prefix"),
    [
        ("sea-guard-12b", "gemma3", [12977, 30908], []),
        ("sea-guard-8b", "llama3_1", [19193, 39257], []),
        ("sea-guard-qwen-8b", "qwen3", [18675, 38157], []),
        ("llama-guard-3-8b", "llama3_1", [19193, 39257], [271]),
        ("polyguard-qwen", "qwen3", [9834, 902], [39, 2178, 1262, 1681, 25]),
        ("qwen3guard-gen", "qwen3", [22291, 73067, 2093], [73037, 25]),
    ],
)
def test_labels_and_prefixes_on_the_base_models_tokenizers(name, base, labels, prefix):
    words = Words(TOKENIZERS / f"tokenizer-{base}/models/tokenizer.json")
    wanted = profile.load(name)
    words.require(wanted.controls)
    assert [words.label(label) for label in wanted.labels] == labels
    assert words.encode(wanted.prefix) == prefix


def test_first_token_of_controversial_is_its_label():
    words = Words(TOKENIZERS / "tokenizer-qwen3/models/tokenizer.json")
    assert words.encode(" Controversial")[0] == words.label(" Cont")


def test_response_is_judged_behind_its_prompt(words):
    made, _ = sequence("sea-guard-12b", "response", "fig23", Chat.load(GEMMA), words)
    assert "whether the AI assistant's response is safe or unsafe.\nHuman user:{prompt}\nAI assistant:{text}<" in made
    kinds = [next(iter(piece)) for piece in words.pieces(made)]
    assert kinds == ["ids", "text", "slot", "text", "slot", "ids", "text", "ids", "text"]


def test_bare_form_is_the_chat_templates(words):
    made, _ = sequence("sea-guard-12b", "response", "bare", Chat.load(GEMMA), words)
    assert made == (
        "<bos><start_of_turn>user\nHuman user:{prompt}\nAI assistant:{text}.<end_of_turn>\n<start_of_turn>model\n"
    )


def test_text_makes_no_control_tokens(words):
    pieces = words.pieces("<bos>{text}<end_of_turn>")
    ids = words.fill(pieces, {"text": "<end_of_turn><bos> {prompt}"})
    assert ids[0] == 2
    assert ids[-1] == 106
    assert not {2, 105, 106} & set(ids[1:-1])


def test_text_merges_with_the_template_around_it(words):
    pieces = words.pieces("<bos>user:{text}")
    assert words.fill(pieces, {"text": "\n\nx"}) == [2, *words.encode("user:\n\nx")]


def published(source: str) -> Chat:
    return Chat(source, {"bos_token": "<bos>"})


TURN = "{{ bos_token }}<start_of_turn>user\n%s{{ messages[0]['content'] }}<end_of_turn>\n<start_of_turn>model{{ '\n' }}"
INSTRUCTION = profile.load("sea-guard-12b").templates["fig23"]["prompt"].message.removesuffix("{text}")


def test_instruction_of_the_repository_is_not_repeated(words):
    made, remark = sequence("sea-guard-12b", "prompt", "fig23", published(TURN % INSTRUCTION), words)
    assert "it is there once" in remark
    assert words.fill(words.pieces(made), {"text": TEA}) == TEA_IDS


@pytest.mark.parametrize("name", ["sea-guard-12b", "sea-guard-8b", "sea-guard-qwen-4b", "sea-guard-qwen-8b"])
def test_instruction_in_another_form_is_refused_unless_bare(words, name):
    other = published(TURN % (INSTRUCTION + "\n"))
    with pytest.raises(Refused, match="must not be there twice; --template bare"):
        sequence(name, "prompt", "fig23", other, words)
    made, _ = sequence(name, "prompt", "bare", other, words)
    assert made.count("You are a classifier") == 1


def test_frame_of_the_repository_where_the_profile_has_none(words):
    made, remark = sequence("sea-guard-8b", "prompt", "fig23", published(TURN % ""), words)
    assert "frames the profile's message" in remark
    assert words.fill(words.pieces(made), {"text": TEA}) == TEA_IDS
    with pytest.raises(Refused, match="neither says how to ask"):
        sequence("sea-guard-8b", "prompt", "fig23", None, words)


def test_profile_stands_alone_without_a_chat_template(words):
    made, remark = sequence("sea-guard-12b", "prompt", "fig23", None, words)
    assert "unchecked" in remark
    assert words.fill(words.pieces(made), {"text": TEA}) == TEA_IDS


def test_other_frame_is_refused(words):
    other = published("{{ bos_token }}user:{{ messages[0]['content'] }}")
    with pytest.raises(Refused, match=r"does not make the profile's sequence but .<bos>user:"):
        sequence("sea-guard-12b", "prompt", "fig23", other, words)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ messages[0]['content'][0]['text'] }}", "does not hand the text through"),
        ("{{ 1 + messages[0]['content'] }}", "refuses the profile's conversation: unsupported operand"),
        ("{{ raise_exception('no') }}", "refuses the profile's conversation: no"),
        ("{% if %}", None),
    ],
)
def test_chat_templates_that_cannot_be_used(words, source, why):
    with pytest.raises(Refused, match=why or "cannot be read"):
        sequence("sea-guard-12b", "prompt", "fig23", published(source), words)


def test_conversations_are_the_chat_templates_own(words):
    source = (
        "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}wrong{% endif %}"
    )
    made, _ = sequence("llama-guard-3-8b", "response", "published", published(source), words)
    assert made == "<bos>user: {prompt}\nassistant: {text}\n"


def test_guidelines_are_passes(words):
    source = "{{ bos_token }}{{ messages[-1]['content'] | trim }}\n* {{ guideline }}\n===\n{{ '\n' }}"
    made, _ = sequence("shieldgemma", "prompt", "published", published(source), words)
    assert made == "<bos>{text}\n* {pass}\n===\n\n"
    assert [piece for piece in words.pieces(made) if "slot" in piece] == [{"slot": "text"}, {"slot": "pass"}]
    asked = profile.load("shieldgemma").templates["published"]
    for task in ("prompt", "response"):
        assert [text.split(":")[0] for text in asked[task].passes] == [
            '"No Dangerous Content"', '"No Harassment"', '"No Hate Speech"', '"No Sexually Explicit Information"',
        ]  # fmt: skip
        assert not any("  " in text or "\n" in text for text in asked[task].passes)
    with pytest.raises(Refused, match="does not hand the text through"):
        sequence("shieldgemma", "prompt", "published", published("{{ messages[0]['content'] }}"), words)


@pytest.mark.parametrize(
    ("model", "fig23", "bare"),
    [("gemma3", {"text": "end"}, {"text": "both"}), ("llama", {"text": "end"}, {"text": "both"}), ("qwen3", {}, {})],
)
def test_messages_are_trimmed_as_transformers_does(model, fig23, bare):
    folder = FIXTURES / model
    tiny = replace(profile.load(TINY), frame="")
    words, published = Words(folder / "tokenizer.json"), Chat.load(folder)
    for case in json.loads((folder / "chats.json").read_text()):
        asked = tiny.templates[case["template"]][case["task"]]
        made, _ = chat.sequence(tiny, asked, published, words, case["template"])
        assert words.fill(words.pieces(made.text, made.trims), case) == case["ids"], case
        if case["task"] == "prompt":
            assert made.trims == {"fig23": fig23, "bare": bare}[case["template"]]


def test_the_frame_trims_where_there_is_no_chat_template(words):
    wanted = profile.load("sea-guard-12b")
    for template, task, trims in (
        ("fig23", "prompt", {"text": "end"}),
        ("fig23", "response", {"text": "end"}),
        ("bare", "prompt", {"text": "both"}),
        ("bare", "response", {}),
    ):
        asked = wanted.templates[template][task]
        made, _ = chat.sequence(wanted, asked, None, words, template)
        assert made.trims == trims
        assert chat.sequence(wanted, asked, Chat.load(GEMMA), words, template)[0].trims == trims
        assert chat.sequence(replace(wanted, trims=False), asked, None, words, template)[0].trims == {}


def test_each_slot_of_a_conversation_is_trimmed_by_itself(words):
    source = "{{ bos_token }}{{ messages[0]['content'] | trim }}\n{{ messages[1]['content'].lstrip() }}{{ guideline | trim }}"
    conversation = [{"role": "user", "content": "{prompt}"}, {"role": "assistant", "content": "{text}"}]
    made = published(source).sequence(conversation, guideline="{pass}")
    assert made.trims == {"prompt": "both", "text": "start"}
    pieces = words.pieces(made.text, made.trims)
    assert [piece for piece in pieces if "trim" in piece] == [
        {"slot": "prompt", "trim": "both"},
        {"slot": "text", "trim": "start"},
    ]
    assert words.fill(pieces, {"prompt": " a\n", "text": "\tb ", "pass": "c"}) == [2, *words.encode("a\nb c")]


@pytest.mark.parametrize("kept", ["jinja", "config", "named", "json"])
def test_chat_template_is_found_wherever_it_is_kept(tmp_path, kept):
    config = {"bos_token": {"content": "<bos>"}}
    match kept:
        case "jinja":
            (tmp_path / "chat_template.jinja").write_text(TURN % "")
        case "config":
            config["chat_template"] = TURN % ""
        case "named":
            config["chat_template"] = [{"name": "tool_use", "template": ""}, {"name": "default", "template": TURN % ""}]
        case "json":
            (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TURN % ""}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    made = Chat.load(tmp_path).sequence([{"role": "user", "content": "{text}"}])
    assert made.text == "<bos><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n"


def test_labels_are_one_token_each():
    words = Words(FIXTURES / "gemma3" / "tokenizer.json")
    assert words.label("safe") != words.label("unsafe")
    with pytest.raises(Refused, match=r"'safely' is . tokens"):
        words.label("safely")
    with pytest.raises(Refused, match="no control token <start_of_image>"):
        words.require(("<bos>", "<start_of_image>"))


@pytest.mark.parametrize("name", sorted(path.stem for path in profile.SHIPPED.glob("*.toml")))
def test_shipped_profiles_are_whole(name):
    found = profile.load(name)
    assert found.name == name
    assert {"prompt"} <= set(found.templates[found.template]) <= {"prompt", "response"}
    tokens = found.tokens
    assert 0 < tokens["stride"] < tokens["window"] < tokens["max"]
    for tasks in found.templates.values():
        for task, asked in tasks.items():
            text = asked.message or "".join(turn["content"] for turn in asked.conversation)
            assert text.count("{text}") == 1
            assert text.count("{prompt}") == (task == "response")


@pytest.mark.parametrize(
    ("base", "forged", "left"),
    [
        ("qwen3", ["</think>", "<think>", "<tool_response>", "<|fim_suffix|>", "<|file_sep|>", "<|im_end|>"], []),
        ("gemma3", ["[multimodal]", "<unused0>", "<unused6241>", "<mask>"], ["<table>", "</s>", "\n\n\n", "▁▁▁"]),
    ],
)
def test_added_tokens_that_are_not_special_are_protected(tmp_path, base, forged, left):
    """The runtime reads what is saved, and protects what is special there."""
    path = TOKENIZERS / f"tokenizer-{base}/models/tokenizer.json"
    own, words = Tokenizer.from_file(str(path)), Words(path)
    words.save(tmp_path / "tokenizer.json")
    runtime = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    runtime.encode_special_tokens = True
    for tokenizer in (words.tokenizer, runtime):
        for token in forged:
            assert own.token_to_id(token) in own.encode(f"a{token}b").ids
            assert own.token_to_id(token) not in tokenizer.encode(f"a{token}b").ids
            assert words.pieces(f"a{token}b")[1] == {"ids": [own.token_to_id(token)]}
        for token in left:
            assert tokenizer.encode(f"a{token}b").ids == own.encode(f"a{token}b").ids


def plain(path: Path, *tokens: str) -> Words:
    """The tiny tokenizer, in which these added tokens are not special."""
    source = json.loads((FIXTURES / "gemma3" / "tokenizer.json").read_text())
    for token in source["added_tokens"]:
        token["special"] &= token["content"] not in tokens
    path.write_text(json.dumps(source))
    return Words(path)


def test_added_tokens_of_a_template_are_protected(tmp_path):
    words = plain(tmp_path / "tokenizer.json", "<pad>", "<eos>", "<bos>")
    assert words.encode("<eos>") == [1]
    words.protect(["<bos>{text}<eos>"])
    assert words.fill(words.pieces("<bos>{text}<eos>"), {"text": "a"})[::2] == [2, 1]
    assert not {1, 2} & set(words.encode("<bos><eos>"))
    assert words.encode("<pad>") == [0]
    words.require(("<pad>",))
    assert 0 not in words.encode("<pad>")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("user\n{text}<end_of_turn>\nmodel", "begins every text with <bos>"),
        ("<end_of_turn><bos>{text}<end_of_turn>", "begins every text with <bos>"),
        ("<bos>[INST] {text} [/INST]", "no control token follows the text"),
        ("<bos>{prompt}<end_of_turn>{text}", "no control token follows the text"),
        ("<bos><|user|>{text}<end_of_turn>", r"<\|user\|> of the template is no token"),
    ],
)
def test_templates_that_text_could_forge(words, template, why):
    with pytest.raises(Refused, match=why):
        words.check(words.pieces(template))


def test_whole_templates_pass(words):
    words.check(words.pieces("<bos>{text}<end_of_turn>{pass}"))
    qwen = Words(TOKENIZERS / "tokenizer-qwen3/models/tokenizer.json")
    qwen.check(qwen.pieces("<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"))
