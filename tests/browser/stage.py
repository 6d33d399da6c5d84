"""A Seawall with reviewers, and real traffic that it flags."""

import json
import re
import sys
from itertools import count
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.append(str(HERE.parent / "sdk"))

from servers import Answer, Script, Seawall, ask, chat, seawall  # noqa: E402  programs of tests are started in one way
from texts import ANSWER, HOSTILE, PROSE, QUESTION  # noqa: E402

# The tests' own.
GUARD = f"[guard]\ndir = {json.dumps(str(ROOT / 'tests' / 'fixtures' / 'guard'))}\n"
# Who else reviews, so that people can disagree.
PEOPLE = {"vera": "viewer", "ravi": "reviewer", "ruth": "reviewer", "ana": "admin"}
NAMES = {"viewer": "vera", "reviewer": "ravi", "second": "ruth", "admin": "ana"}
# By the names of their keys.
TENANTS = {"shop": "retail", "bank": "finance", "files": "archive"}


def password(name: str) -> str:
    return f"correct horse battery {name}"


class Stage:
    """A scripted LLM, the Seawall in front of it, and its callers' keys."""

    def __init__(self, folder: Path):
        self.numbers = count(1)
        self.keys, settings = {}, [GUARD]
        for name, tenant in TENANTS.items():
            self.keys[name], lines = said("key", "new", name, "--tenant", tenant, cwd=folder).split("\n", 1)
            settings.append(lines)
        for name, role in PEOPLE.items():
            settings.append(said("user", "new", name, "--role", role, "--password-stdin", cwd=folder, stdin=password(name)))
        (folder / "seawall.toml").write_text("\n".join(settings))
        self.llm = Script()
        self.seawall = Seawall(folder, self.llm.url, HERE / "policies")
        self.url = self.seawall.admin

    def word(self) -> str:
        """A word that no other case holds, to be searched for."""
        return f"marker{next(self.numbers):04}x"

    def ask(self, prompt: str, answer: str = "As you wish.", key: str = "shop", stream: bool = False, **more) -> Answer:
        """A call through the proxy."""
        if stream:
            pieces = re.findall(r"\S+\s*", answer)
            self.llm.streams(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"))
        else:
            message = {"role": "assistant", "content": answer}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            self.llm.says({"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-test", "choices": choices})
        extra = {"stream": True, **more} if stream else more
        return chat(self.seawall.url, ask(prompt, **extra), seawall_key=self.keys[key])

    def flag(self, prompt: str, *arguments, **more) -> str:
        """The same, and the case that it becomes."""
        answer = self.ask(prompt, *arguments, **more)
        assert answer.status in (200, 400), answer.body
        return answer.headers["seawall-request-id"]

    def fill(self):
        """A record as a day has it."""
        for prompts in PROSE.values():
            for number, prompt in enumerate(prompts):
                self.flag(prompt, key=("shop", "bank")[number % 2], stream=number % 2 == 1)
        for text, _ in HOSTILE.values():
            self.flag(text, key="bank")
        self.flag("Write to a.person@example.com about the party on Sunday, please.")
        for stream in (False, True):
            self.flag(QUESTION, ANSWER, stream=stream)

    def close(self):
        self.seawall.stop()
        self.llm.__exit__()


def chunk(delta: dict, end: str | None = None) -> dict:
    choices = [{"index": 0, "delta": delta, "finish_reason": end}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test", "choices": choices}


def said(*arguments, **options) -> str:
    done = seawall(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout
