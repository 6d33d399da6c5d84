"""The tokenizer, used as the runtime uses it: control tokens only where a template has them, text never makes one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from itertools import dropwhile
from pathlib import Path

from tokenizers import Tokenizer

from .checkpoint import read_json
from .refused import Refused

SLOTS = ("text", "prompt", "pass")
# Tokenizers protect from text only what they call special, and many leave out some of these: Qwen3 `</think>`, Gemma
# `<unused0>`. DeepSeek's bars are wide.
_TURN = r"<[|｜][^<>|｜]+[|｜]>|<(?:start|end)_of_\w+>"
TURN = re.compile(_TURN)
CONTROL = re.compile(rf"{_TURN}|</?think>|</?tool[^<>]*>|<unused[^<>]*>|\[multimodal\]|\[@BOS@\]|<mask>|<2mass>")
# Added tokens that are ordinary words, as Gemma has them. Not `<s>`, which begins a sequence elsewhere.
ORDINARY = re.compile(
    r"[\s▁]+|</?(?:a|b|bbox|blockquote|body|caption|code|div|em|footer|h[1-6]|html|i|iframe|img|li|span|strong|sub|sup"
    r"|table|tbody|td|tfoot|th|thead|tr|u|ul)>"
)
# A piece of a template, as guard.toml has it: {"ids": […]}, {"text": …} or {"slot": …}, the last perhaps with "trim".
Piece = dict
TRIMS = {None: str, "start": str.lstrip, "end": str.rstrip, "both": str.strip}


class Words:
    def __init__(self, path: Path):
        self.path = path
        try:
            self.tokenizer = _strict(Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises nothing narrower
            raise Refused(f"{path}: {error}") from error
        added = self.tokenizer.get_added_tokens_decoder()
        self._added = {token.content: number for number, token in added.items()}
        self.controls = {token.content: number for number, token in added.items() if token.special}
        # Those that the tokenizer does not call special itself.
        self.protected: set[str] = set()
        self._protect(token for token in self._added if CONTROL.fullmatch(token))

    def protect(self, templates: Iterable[str]) -> None:
        """Makes control tokens of the added tokens that stand in templates, so that text never makes them either."""
        whole = "\0".join(templates)
        self._protect(token for token in self._added if token in whole and not ORDINARY.fullmatch(token))

    def _protect(self, tokens: Iterable[str]) -> None:
        if new := {token: self._added[token] for token in tokens if token not in self.controls}:
            self.controls |= new
            self.protected |= set(new)
            self.tokenizer = _strict(Tokenizer.from_str(self._marked()))

    def _marked(self) -> str:
        """tokenizer.json, in which what is protected is special: the runtime goes by that."""
        source = read_json(self.path)
        for token in source["added_tokens"]:
            token["special"] |= token["content"] in self.protected
        return json.dumps(source, ensure_ascii=False)

    def save(self, path: Path) -> None:
        if self.protected:
            path.write_text(self._marked(), encoding="utf-8")
        else:
            shutil.copyfile(self.path, path)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def label(self, text: str) -> int:
        """The id of a label, which must be one token: the first one generated decides."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise Refused(f"the label {text!r} is {len(ids)} tokens in this tokenizer: it does not fit the profile")
        return ids[0]

    def require(self, controls: tuple[str, ...]) -> None:
        self.protect(controls)
        if missing := [token for token in controls if token not in self.controls]:
            raise Refused(f"the tokenizer has no control token {missing[0]}: it does not fit the profile")

    def pieces(self, sequence: str, trims: dict[str, str] | None = None) -> list[Piece]:
        """A template with its control tokens and `{slots}` spelled out, taken apart."""
        trims = trims or {}
        slots = {f"{{{slot}}}": slot for slot in SLOTS}
        marks = sorted([*self.controls, *slots], key=len, reverse=True)
        pieces: list[Piece] = []
        for part in re.split(f"({'|'.join(map(re.escape, marks))})", sequence):
            if part in slots:
                slot = slots[part]
                pieces.append({"slot": slot} | ({"trim": trims[slot]} if slot in trims else {}))
            elif part in self.controls and pieces and "ids" in pieces[-1]:
                pieces[-1]["ids"].append(self.controls[part])
            elif part in self.controls:
                pieces.append({"ids": [self.controls[part]]})
            elif part:
                pieces.append({"text": part})
        return pieces

    def check(self, pieces: list[Piece]) -> None:
        """Raises Refused for a template that lacks the tokenizer's own beginning, or whose turns text could forge."""
        # Not of an empty text: there a token that ends it would come first.
        own = self.tokenizer.encode("a")
        begins = pieces[0].get("ids", [None])[0] if pieces else None
        if own.special_tokens_mask[0] and own.ids[0] != begins:
            raise Refused(
                f"the tokenizer begins every text with {own.tokens[0]}, the template does not: see that "
                "tokenizer_config.json names it as bos_token and that the chat template or the frame has it"
            )
        if plain := next(filter(None, (TURN.search(piece.get("text", "")) for piece in pieces)), None):
            raise Refused(f"{plain[0]} of the template is no token of the tokenizer: they do not belong together")
        if not any("ids" in piece for piece in dropwhile(lambda piece: piece.get("slot") != "text", pieces)):
            raise Refused("no control token follows the text in the template: text could forge its turns")

    def fill(self, pieces: list[Piece], slots: dict[str, str]) -> list[int]:
        """The ids of a template with its slots filled. What stands between two control tokens is encoded together."""
        ids: list[int] = []
        run = ""
        for piece in [*pieces, {"ids": []}]:
            if "ids" in piece:
                ids += (self.encode(run) if run else []) + piece["ids"]
                run = ""
            else:
                run += piece.get("text", "") or TRIMS[piece.get("trim")](slots.get(piece.get("slot"), ""))
        return ids


def _strict(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
