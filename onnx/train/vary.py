"""Other forms of a text that mean the same: what people do to text carelessly, or to hide it."""

from __future__ import annotations

import random
import unicodedata

LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})
# Letters of other scripts that look like Latin ones.
LOOKALIKES = str.maketrans({"a": "\u0430", "e": "\u0435", "o": "\u043e", "p": "\u0440", "c": "\u0441", "x": "\u0445"})
LATIN = {"en", "id", "ms", "tl", "vi"}


def careless(text: str, lang: str, rng: random.Random) -> str:
    """As people type on a telephone: no capitals, no marks, missing or doubled letters."""
    if lang in LATIN and rng.random() < 0.7:
        text = text.lower() if rng.random() < 0.8 else text.upper()
    if rng.random() < 0.5:
        text = without_punctuation(text)
    if lang == "vi" and rng.random() < 0.5:
        text = without_marks(text)
    return typos(text, rng)


def hidden(text: str, lang: str, rng: random.Random) -> str:
    """As people write to get past a filter."""
    steps = [zero_width, spaced] if lang not in LATIN else [leet, lookalikes, zero_width, spaced, dotted]
    return rng.choice(steps)(text, rng)


def without_punctuation(text: str) -> str:
    return " ".join("".join(c if unicodedata.category(c)[0] != "P" else " " for c in text).split())


def without_marks(text: str) -> str:
    """Vietnamese typed without its marks."""
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(c for c in plain if not unicodedata.combining(c))


def typos(text: str, rng: random.Random) -> str:
    """About one letter in thirty is lost, doubled or changes places with the next."""
    letters = list(text)
    for at in range(len(letters) - 1):
        if letters[at].isalpha() and rng.random() < 0.03:
            change = rng.randrange(3)
            if change == 0:
                letters[at] = ""
            elif change == 1:
                letters[at] *= 2
            else:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def leet(text: str, rng: random.Random) -> str:
    return _some_words(text, rng, lambda word: word.lower().translate(LEET))


def lookalikes(text: str, rng: random.Random) -> str:
    return _some_words(text, rng, lambda word: word.translate(LOOKALIKES))


def zero_width(text: str, rng: random.Random) -> str:
    return _some_words(text, rng, "\u200b".join)


def spaced(text: str, rng: random.Random) -> str:
    return _some_words(text, rng, " ".join)


def dotted(text: str, rng: random.Random) -> str:
    return _some_words(text, rng, lambda word: rng.choice("._-*").join(word))


def _some_words(text: str, rng: random.Random, change) -> str:
    return " ".join(change(word) if rng.random() < 0.4 else word for word in text.split(" "))
