"""The chat template that a model's repository publishes, and whether the profile's sequences are what it makes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .checkpoint import read_json
from .profile import Asked, Profile
from .refused import Refused
from .words import SLOTS, Words

# What a repository's template is left to add by itself.
BARE = "bare"
TWICE = f"it must not be there twice; --template {BARE} leaves it to the chat template"
SAMPLE = dict(zip(SLOTS, ("How do I make tea?", "Is it late?", "No Harassment"), strict=True))
SLOT = re.compile(rf"{{(?:{'|'.join(SLOTS)})}}")
SPACE = "\t"


@dataclass(frozen=True)
class Sequence:
    """What the model is fed; `{slots}` stand in it, some of which lose white space at their `start`, `end` or `both`."""

    text: str
    trims: dict[str, str] = field(default_factory=dict)


class Chat:
    """A repository's chat template; None of `load` where it has none."""

    def __init__(self, source: str, tokens: dict[str, str]):
        # As transformers sets it up; without `strftime_now`, so that templates with a date take their fixed one.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _fail
        self.tokens = tokens
        try:
            self.template = environment.from_string(source)
        except TemplateError as error:
            raise Refused(f"the repository's chat template cannot be read: {error}") from error

    @classmethod
    def load(cls, folder: Path) -> Chat | None:
        path = folder / "tokenizer_config.json"
        config = read_json(path) if path.exists() else {}
        tokens = {}
        for key, value in config.items():
            if key.endswith("_token") and value:
                tokens[key] = value["content"] if isinstance(value, dict) else value
        source = config.get("chat_template")
        if (folder / "chat_template.jinja").exists():
            source = (folder / "chat_template.jinja").read_text()
        elif (folder / "chat_template.json").exists():
            source = read_json(folder / "chat_template.json").get("chat_template")
        if isinstance(source, list):
            source = {entry["name"]: entry["template"] for entry in source}.get("default")
        return cls(source, tokens) if source else None

    def sequence(self, conversation: list[dict], generation: bool = True, **variables: str) -> Sequence:
        """The sequence of a conversation; `{slots}` in it come out as they are."""
        made = self._render(conversation, generation, variables)
        given = str(conversation) + str(variables)
        if any(given.count(slot) != made.count(slot) for slot in (f"{{{name}}}" for name in SLOTS)):
            raise Refused("the repository's chat template does not hand the text through: the profile is for another")
        spaced = [turn | {"content": SLOT.sub(rf"{SPACE}\g<0>{SPACE}", turn["content"])} for turn in conversation]
        return Sequence(made, _trims(self._render(spaced, generation, variables)))

    def _render(self, conversation: list[dict], generation: bool, variables: dict[str, str]) -> str:
        values = self.tokens | variables
        try:
            return self.template.render(messages=conversation, add_generation_prompt=generation, **values)
        except (TemplateError, TypeError, ValueError) as error:
            raise Refused(f"the repository's chat template refuses the profile's conversation: {error}") from error


def sequence(profile: Profile, asked: Asked, chat: Chat | None, words: Words, template: str) -> tuple[Sequence, str]:
    """The sequence of a task, and a line on how it relates to the repository's chat template.

    Raises Refused where the two contradict each other, or where the instruction would be there twice.
    """
    framed = profile.frame and asked.message and profile.frame.replace("{message}", asked.message)
    if chat is None:
        if not framed:
            raise Refused("the repository has no chat template and the profile no frame: neither says how to ask")
        message = SLOT.sub(rf"{SPACE}\g<0>{SPACE}", asked.message)
        trims = _trims(message.strip() if profile.trims else message)
        return Sequence(framed, trims), "the repository has no chat template: the profile's sequence is unchecked"
    if asked.message is None:
        made = chat.sequence(list(asked.conversation), asked.generation, **asked.variables)
        return made, "the sequence is what the repository's chat template makes of the conversation"
    made = chat.sequence([{"role": "user", "content": asked.message}])
    if template == BARE:
        return made, "the sequence is what the repository's chat template makes of the bare message"
    bare = chat.sequence([{"role": "user", "content": "{text}"}])
    instruction = asked.message.partition("{")[0].splitlines()[0]
    if not framed:
        if instruction in bare.text:
            raise Refused(f"the repository's chat template adds the instruction itself: {TWICE}")
        return made, "the repository's chat template frames the profile's message"
    own = words.fill(words.pieces(framed), SAMPLE)
    if own == words.fill(words.pieces(made.text), SAMPLE) and instruction not in bare.text:
        return Sequence(framed, made.trims), "the repository's chat template makes the profile's sequence"
    if own == words.fill(words.pieces(bare.text), SAMPLE):
        remark = "the repository's chat template adds the profile's instruction itself: it is there once"
        return Sequence(framed, bare.trims), remark
    if instruction in bare.text:
        raise Refused(f"the repository's chat template adds the instruction itself, in another form: {TWICE}")
    raise Refused(
        f"the repository's chat template does not make the profile's sequence but {made.text!r}: the profile is for another "
        f"model, or --template {BARE} is its form"
    )


def _trims(spaced: str) -> dict[str, str]:
    """Where the slots of a sequence have lost the spaces that they were put between."""
    trims = {}
    for slot in SLOTS:
        before, found, after = spaced.partition(f"{{{slot}}}")
        lost = (not before.endswith(SPACE), not after.startswith(SPACE))
        if found and any(lost) and slot != "pass":
            trims[slot] = {(True, False): "start", (False, True): "end", (True, True): "both"}[lost]
    return trims


def _fail(message: str) -> None:
    raise TemplateError(message)
