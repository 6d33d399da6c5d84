"""Turns texts into the ids that the guard reads, exactly as the runtime does from `guard.toml`."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

START, PAD, END = 0, 1, 2
PREFIX = "query: "
WINDOW = 128
STRIDE = 96
PROMPT_MAX = 96


class Encoder:
    def __init__(self, tokenizer: Path):
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        # A user's "</s>" is text; it must never become the separator.
        self.tokenizer.encode_special_tokens = True

    def plain(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def prompt(self, text: str) -> list[int]:
        return [START, *self.plain(PREFIX + text), END]

    def response(self, prompt: str, text: str) -> list[int]:
        return [START, *self.plain(PREFIX + self.tail(prompt)), END, END, *self.plain(text), END]

    def tail(self, text: str) -> str:
        """The last `PROMPT_MAX` tokens' worth of the text."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= PROMPT_MAX else text[offsets[-PROMPT_MAX][0] :]

    def windows(self, text: str) -> list[str]:
        """The pieces, overlapping, in which a long text is scored."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        pieces, start = [], 0
        while True:
            stop = min(start + WINDOW, len(offsets))
            if len(offsets) <= WINDOW:
                return [text]
            pieces.append(text[offsets[start][0] : offsets[stop - 1][1]])
            if stop == len(offsets):
                return pieces
            start += STRIDE
