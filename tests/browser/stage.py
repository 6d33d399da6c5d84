"""A Seawall with reviewers, and real traffic that it flags."""

import json
import re
import sqlite3
import sys
from contextlib import closing
from itertools import chain, count
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.append(str(HERE.parent / "sdk"))

from servers import PATIENCE_S, Answer, Script, Seawall, ask, chat, seawall  # noqa: E402  programs of tests are started in one way
from texts import ANSWER, HOSTILE, PROSE, QUESTION  # noqa: E402

# The tests' own.
GUARD = f"[guard]\ndir = {json.dumps(str(ROOT / 'tests' / 'fixtures' / 'guard'))}\n"
# Who else reviews, so that people can disagree.
PEOPLE = {"vera": "viewer", "ravi": "reviewer", "ruth": "reviewer", "ana": "admin"}
NAMES = {"viewer": "vera", "reviewer": "ravi", "second": "ruth", "admin": "ana"}
# How often each thing is said, and the days over which.
ROUNDS, DAYS, DAY_MS = 4, 30, 24 * 60 * 60 * 1000
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
        self.llm = Script()
        self.seawall = Seawall(folder, self.llm.url, HERE / "policies", "\n".join(settings))
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
        """A record as a month leaves it."""
        for number, prompt in enumerate([*chain.from_iterable(PROSE.values())] * ROUNDS):
            self.flag(prompt, key=("shop", "bank")[number % 2], stream=number % 3 == 1)
        for text, _ in HOSTILE.values():
            self.flag(text, key="bank")
        self.flag("Write to a.person@example.com about the party on Sunday, please.")
        for stream in (False, True):
            self.flag(QUESTION, ANSWER, stream=stream)
        self.age()

    def age(self):
        """Spreads what is on record over the days before, the more the nearer. No command does this to a record."""
        with closing(sqlite3.connect(self.seawall.folder / "seawall.db", timeout=PATIENCE_S)) as record, record:
            for number, (case, at) in enumerate(record.execute("SELECT id, at_ms FROM cases ORDER BY seq").fetchall()):
                turn = number * 37 % DAYS
                at -= turn * turn // DAYS * DAY_MS
                record.execute("UPDATE case_rules SET at_ms = ? WHERE case_id = ?", (at, case))
                record.execute(
                    "UPDATE cases SET at_ms = ?1, at = strftime('%Y-%m-%dT%H:%M:%SZ', ?1 / 1000, 'unixepoch') WHERE id = ?2",
                    (at, case),
                )

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
