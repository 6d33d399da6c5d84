"""Checks our own text: form, languages, scripts, copies. Prints what is wrong; exits 1 if anything is.

usage: check.py [FILE …]    (default: all text in this folder)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ("en", "id", "ms", "my", "ta", "th", "tl", "vi")
STYLES = {"question", "command", "story", "roleplay", "jailbreak", "chat", "paragraph"}
SCRIPTS = {"my": ("\u1000", "\u109f"), "ta": ("\u0b80", "\u0bff"), "th": ("\u0e00", "\u0e7f")}
PARTS = {
    "prompts": ("unsafe", "safe"),
    "responses": ("prompt", "refusal", "help", "comply"),
    "daily": ("prompt", "answer"),
}
PREFIX = {"prompts": "", "responses": "r-", "daily": "d-"}


def faults(path: Path) -> list[str]:
    found, groups, texts = [], set(), {}
    kind = path.parent.name
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path.name}:{number}"
        try:
            group = json.loads(line)
        except ValueError as error:
            found.append(f"{where}: not JSON: {error}")
            continue
        name = group.get("group", "")
        prefix = PREFIX[kind]
        if not name.startswith(f"{prefix}{path.stem}-") or not name.rsplit("-", 1)[1].isdigit() or name in groups:
            found.append(f"{where}: `group` must be {prefix}{path.stem}-NN, each once: {name!r}")
        groups.add(name)
        if kind == "prompts" and group.get("style") not in STYLES:
            found.append(f"{where}: `style` must be one of {sorted(STYLES)}")
        for part in PARTS[kind]:
            if part == "answer" and part not in group:
                continue
            by_language = group.get(part, {})
            if set(by_language) != set(LANGUAGES):
                has = ", ".join(sorted(by_language))
                found.append(f"{where}: `{part}` must have {', '.join(LANGUAGES)}; has {has}")
            for language, text in by_language.items():
                at = f"{where} {part}.{language}"
                if not isinstance(text, str) or len(text.strip()) < 8:
                    found.append(f"{at}: too short")
                elif text in texts:
                    found.append(f"{at}: the same text as {texts[text]}")
                elif not in_script(language, text, 0.05 if kind == "daily" else 0.5):
                    found.append(f"{at}: not in the language's script: {text[:40]}")
                texts[text] = at
    return found


def in_script(language: str, text: str, least: float) -> bool:
    """Whether more than `least` of the letters are of the language's script: Latin where none is named.

    Ordinary requests hold code, names and text to translate.
    """
    letters = [letter for letter in text if letter.isalpha() or "\u1000" <= letter <= "\u109f"]
    low, high = SCRIPTS.get(language, ("A", "\u1eff"))
    return sum(low <= letter <= high for letter in letters) > least * len(letters)


def main() -> None:
    named = [Path(name).resolve() for name in sys.argv[1:]]
    paths = named or [path for kind in PARTS for path in sorted((HERE / kind).glob("*.jsonl"))]
    found = [fault for path in paths for fault in faults(path)]
    print("\n".join(found) or f"{len(paths)} files are well formed")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
