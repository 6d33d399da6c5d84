"""Makes `chats.json` of the tiny models: what transformers feeds them for messages dressed in white space.

Run by hand, after make_fixtures.py; the tests need no transformers:

    pip install transformers==5.24.0 && python make_chats.py
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
MODELS = ("gemma3", "llama", "qwen3")
PROMPT = "\n Is it late?\t"
TEXTS = (
    "How do I make tea?",
    "  How do I make tea?\n\n",
    "\u3000ฉันจะชงชาให้อร่อยได้อย่างไร\u00a0\u001c\r\n",
    "\u200b tea \u2800",
    " \n ",
)


def chats(folder: Path, templates: dict) -> list[dict]:
    bos = json.loads((folder / "tokenizer_config.json").read_text())["bos_token"]
    words = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token=bos)
    words.chat_template = (folder / "chat_template.jinja").read_text()
    cases = []
    for template, tasks in templates.items():
        for task, asked in tasks.items():
            for text in TEXTS:
                message = asked["message"].replace("{prompt}", PROMPT).replace("{text}", text)
                conversation = [{"role": "user", "content": message}]
                ids = words.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
                cases.append({"template": template, "task": task, "prompt": PROMPT, "text": text, "ids": ids})
    return cases


def main() -> None:
    templates = tomllib.loads((HERE / "tiny.toml").read_text())["templates"]
    for model in MODELS:
        folder = HERE / "fixtures" / model
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in chats(folder, templates))
        (folder / "chats.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
