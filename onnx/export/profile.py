"""A guard's profile: what the weights do not say, as TOML. `profiles/` holds those that ship."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .refused import Refused

SHIPPED = Path(__file__).with_name("profiles")


@dataclass(frozen=True)
class Asked:
    """How a task is asked; `{text}`, `{prompt}` and `{pass}` are slots.

    Either a user's `message`, which the profile's frame or the repository's chat template makes a sequence, or a
    `conversation`, which only the chat template does, called with `variables` and, if so said, a `generation` prompt.
    """

    message: str | None = None
    conversation: tuple[dict, ...] = ()
    generation: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    speakers: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """What makes a checkpoint a guard. profiles/sea-guard-12b.toml explains each."""

    name: str
    version: str
    licence: str
    notice: str
    architectures: tuple[str, ...]
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    unsafe: dict[str, float]
    tokens: dict[str, int]
    template: str
    templates: dict[str, dict[str, Asked]]
    controls: tuple[str, ...] = ()
    frame: str | None = None
    # Whether the frame trims the message.
    trims: bool = False
    # What the model always says before its label, in its own tokens.
    prefix: str = ""


def load(name: str) -> Profile:
    """A shipped profile by its name, or one of the operator's own by its path."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        values = _read(path)
        templates = {
            template: {task: Asked(**_frozen(asked)) for task, asked in tasks.items()}
            for template, tasks in values.pop("templates").items()
        }
        profile = Profile(templates=templates, **_frozen(values))
    except OSError as error:
        shipped = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.toml")))
        raise Refused(f"no guard {name}: give the path of a profile, or one of {shipped}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise Refused(f"{path}: {error}") from error
    if profile.template not in templates or not set(profile.unsafe) <= set(profile.labels):
        raise Refused(f"{path}: `template` and `unsafe` must name one of the templates and some of the labels")
    return profile


def _read(path: Path) -> dict:
    """A profile's values, those of the shipped one that it `extends` included."""
    values = tomllib.loads(path.read_text())
    base = values.pop("extends", None)
    return (_read(SHIPPED / f"{base}.toml") if base else {}) | values


def _frozen(values: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
