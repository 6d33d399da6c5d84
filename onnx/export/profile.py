"""A guard's profile: what the weights do not say, as TOML. `profiles/` holds those that ship."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .refused import Refused

SHIPPED = Path(__file__).with_name("profiles")


@dataclass(frozen=True)
class Asked:
    """How a task is asked, control tokens and `{slots}` spelled out.

    Either `message`, which the profile's frame or the repository's chat template turns into a sequence, or the whole
    `sequence`, with the `conversation` from which a chat template makes the same.
    """

    message: str | None = None
    sequence: str | None = None
    conversation: tuple[dict, ...] = ()
    speakers: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """What makes a checkpoint a guard. See profiles/sea-guard-12b.toml for the meaning of each."""

    name: str
    version: str
    licence: str
    notice: str
    architectures: tuple[str, ...]
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    unsafe: dict[str, float]
    controls: tuple[str, ...]
    tokens: dict[str, int]
    template: str
    templates: dict[str, dict[str, Asked]]
    frame: str | None = None


def load(name: str) -> Profile:
    """A shipped profile by its name, or one of the operator's own by its path."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        shipped = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.toml")))
        raise Refused(f"no guard {name}: give the path of a profile, or one of {shipped}") from error
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: {error}") from error
    try:
        templates = {
            name: {task: Asked(**_frozen(asked)) for task, asked in tasks.items()}
            for name, tasks in values.pop("templates").items()
        }
        profile = Profile(templates=templates, **_frozen(values))
    except (KeyError, TypeError) as error:
        raise Refused(f"{path}: {error}") from error
    if profile.template not in templates or not set(profile.unsafe) <= set(profile.labels):
        raise Refused(f"{path}: `template` and `unsafe` must name one of the templates and some of the labels")
    return profile


def _frozen(values: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
