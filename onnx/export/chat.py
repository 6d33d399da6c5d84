"""The chat template that a model's repository publishes, and whether the profile's sequences are what it makes."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .checkpoint import read_json
from .profile import Asked, Profile
from .refused import Refused
from .words import SLOTS, Words

# What a repository's template is left to add by itself.
BARE = "bare"
SAMPLE = dict(zip(SLOTS, ("How do I make tea?", "Is it late?", "No Harassment"), strict=True))


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

    def sequence(self, conversation: list[dict]) -> str:
        """What the model is fed for a conversation; `{slots}` in it come out as they are."""
        try:
            return self.template.render(messages=conversation, add_generation_prompt=True, **self.tokens)
        except TemplateError as error:
            raise Refused(f"the repository's chat template refuses the profile's message: {error}") from error


def sequence(profile: Profile, asked: Asked, chat: Chat | None, words: Words, template: str) -> tuple[str, str]:
    """The sequence of a task, and a line on how it relates to the repository's chat template.

    Raises Refused where the two contradict each other, or where the instruction would be there twice.
    """
    if chat is None:
        if asked.sequence is None and profile.frame is None:
            raise Refused("the repository has no chat template and the profile no frame: neither says how to ask")
        return _own(profile, asked), "the repository has no chat template: the profile's sequence is unchecked"
    if template == BARE:
        return chat.sequence(_conversation(asked)), "the sequence is the repository's chat template's own"
    bare = chat.sequence([{"role": "user", "content": "{text}"}])
    if asked.message is not None and profile.frame is None:
        if asked.message.partition("\n")[0].partition("{")[0] in bare:
            raise Refused(
                "the repository's chat template adds the instruction itself, and it must not be there twice: "
                f"--template {BARE} leaves it to the chat template"
            )
        return chat.sequence(_conversation(asked)), "the message is the profile's, the rest the repository's chat template's"
    own = words.fill(words.pieces(_own(profile, asked)), SAMPLE)
    if own == words.fill(words.pieces(chat.sequence(_conversation(asked))), SAMPLE):
        return _own(profile, asked), "the repository's chat template makes the profile's sequence"
    if own == words.fill(words.pieces(bare), SAMPLE):
        return _own(profile, asked), "the repository's chat template adds the profile's instruction itself: it is there once"
    raise Refused(
        f"the repository's chat template does not make the profile's sequence: for {SAMPLE['text']!r} alone it makes "
        f"{bare.replace('{text}', SAMPLE['text'])!r}; --template {BARE} takes the template's own form, if the model was "
        "trained on that"
    )


def _own(profile: Profile, asked: Asked) -> str:
    return asked.sequence if asked.sequence is not None else profile.frame.replace("{message}", asked.message)


def _conversation(asked: Asked) -> list[dict]:
    return list(asked.conversation) or [{"role": "user", "content": asked.message}]


def _fail(message: str) -> None:
    raise TemplateError(message)
