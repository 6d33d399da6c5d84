"""The tokenizer, used as the runtime uses it: control tokens only where a template has them, text never makes one."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer

from .refused import Refused

SLOTS = ("text", "prompt", "pass")
# A piece of a template, as guard.toml has it: {"ids": […]}, {"text": …} or {"slot": …}.
Piece = dict


class Words:
    def __init__(self, path: Path):
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise Refused(f"{path}: {error}") from error
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        added = self.tokenizer.get_added_tokens_decoder()
        self.controls = {token.content: number for number, token in added.items() if token.special}

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def label(self, text: str) -> int:
        """The id of a label, which must be one token: the first one generated decides."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise Refused(f"the label {text!r} is {len(ids)} tokens in this tokenizer: it does not fit the profile")
        return ids[0]

    def require(self, controls: tuple[str, ...]) -> None:
        if missing := [token for token in controls if token not in self.controls]:
            raise Refused(f"the tokenizer has no control token {missing[0]}: it does not fit the profile")

    def pieces(self, sequence: str) -> list[Piece]:
        """A template with its control tokens and `{slots}` spelled out, taken apart."""
        slots = {f"{{{slot}}}": slot for slot in SLOTS}
        marks = sorted([*self.controls, *slots], key=len, reverse=True)
        pieces: list[Piece] = []
        for part in re.split(f"({'|'.join(map(re.escape, marks))})", sequence):
            if part in slots:
                pieces.append({"slot": slots[part]})
            elif part in self.controls and pieces and "ids" in pieces[-1]:
                pieces[-1]["ids"].append(self.controls[part])
            elif part in self.controls:
                pieces.append({"ids": [self.controls[part]]})
            elif part:
                pieces.append({"text": part})
        return pieces

    def fill(self, pieces: list[Piece], slots: dict[str, str]) -> list[int]:
        """The ids of a template with its slots filled. What stands between two control tokens is encoded together."""
        ids: list[int] = []
        run = ""
        for piece in [*pieces, {"ids": []}]:
            if "ids" in piece:
                ids += (self.encode(run) if run else []) + piece["ids"]
                run = ""
            else:
                run += piece.get("text", "") or slots.get(piece.get("slot"), "")
        return ids
