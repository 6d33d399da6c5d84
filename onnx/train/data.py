"""Gathers training and validation examples, and says how often each kind is drawn.

A cell is one (source, language, label) of a task. Examples are drawn cell by cell, so that within each language safe
and unsafe weigh the same whatever the sources' sizes are: else the guard learns the language, not the harm.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vary
from encode import WINDOW, Encoder

HERE = Path(__file__).parent
# How many prompts each of the general openers follows.
FOLLOWED = 24
# Long texts made of short ones, for each language and label.
LONG = 60
LANGUAGES = ("en", "id", "ms", "my", "ta", "th", "tl", "vi")
# Ordinary harmless text: what false positives are counted on.
EVERYDAY = {"benign_sea", "gpteacher_benign"}
# Such rows that calibration gets, a language: few enough that the ordinary requests beside them count.
SPARE = 150
# Copyrighted lyrics are not what the guard is for; injected instructions are often harmless by themselves.
NOT_MEASURED = {"bipia", "davidson", "dices", "hatecheck_en", "uli"}
LEFT_OUT = {("harmbench", "copyright"), ("bipia", None)}


@dataclass(frozen=True)
class Example:
    task: str
    source: str
    lang: str
    unsafe: bool
    ids: tuple[int, ...]
    text: str
    prompt: str = ""
    # Translations of one text share this; empty where there are none.
    parallel: str = ""


def is_validation(group: str) -> bool:
    return int(group.rsplit("-", 1)[1]) % 5 == 0


def read(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


class Maker:
    """Makes examples with their ids."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder

    def prompt(self, source: str, lang: str, unsafe: bool, text: str, parallel: str = "") -> Iterator[Example]:
        """One example a window; a long text's first and last only, since nobody labelled the middle."""
        windows = self.encoder.windows(text)
        for window in windows if len(windows) == 1 else (windows[0], windows[-1]):
            yield Example("prompt", source, lang, unsafe, tuple(self.encoder.prompt(window)), window, "", parallel)

    def response(
        self, source: str, lang: str, unsafe: bool, prompt: str, text: str, parallel: str = ""
    ) -> Iterator[Example]:
        window = self.encoder.windows(text)[0]
        ids = tuple(self.encoder.response(prompt, window))
        yield Example("response", source, lang, unsafe, ids, window, prompt, parallel)


def sample(rows: list[dict], draws: dict, rng: random.Random) -> list[dict]:
    """As many rows of each cell as can be drawn: encoding the others would only take time."""
    cells = defaultdict(list)
    for row in rng.sample(rows, len(rows)):
        cells[(row["source"], row["lang"], row.get("label"), row.get("response_label"))].append(row)
    wanted = {source: max(task.get(source, 0) for task in draws.values()) for source, *_ in cells}
    return [row for (source, *_), own in cells.items() for row in own[: wanted[source]]]


def public(rows: list[dict], maker: Maker) -> list[Example]:
    """The public sources' prompts, and responses to them."""
    examples = []
    for row in rows:
        source, lang, text = row["source"], row["lang"], row["text"]
        if (source, row.get("category")) in LEFT_OUT or (source == "bipia" and row.get("label") == "unsafe"):
            continue
        if row.get("label") and source != "dices":
            examples += maker.prompt(source, lang, row["label"] == "unsafe", text)
        response = row.get("response")
        # The many-shot rows are a weak model's completions, labelled by their prompts alone.
        if response and row.get("response_label") and row.get("category") != "many_shot" and len(response) > 15:
            examples += maker.response(source, lang, row["response_label"] == "unsafe", text, response)
    return examples


def own_prompts(folder: Path, maker: Maker, validation: bool) -> list[Example]:
    examples = []
    for path in sorted((folder / "prompts").glob("*.jsonl")):
        for row in read(path):
            if is_validation(row["group"]) != validation:
                continue
            for label in ("unsafe", "safe"):
                for lang, text in row[label].items():
                    parallel = f"{row['group']}/{label}"
                    examples += maker.prompt("own", lang, label == "unsafe", text, parallel)
    return examples


def varied(own: list[Example], asides: list[Example], maker: Maker, rng: random.Random) -> list[Example]:
    """Our own prompts typed carelessly, hidden from filters, and beside a harmless sentence.

    The sentence is in the prompt's language or, one time in three, in another, before or after it, and the label stays:
    what is unsafe is not made harmless by company.
    """
    asides_in = defaultdict(list)
    for aside in asides:
        asides_in[aside.lang].append(aside)
    examples = []
    for example in own:
        lang, unsafe, text = example.lang, example.unsafe, example.text
        examples += maker.prompt("own-careless", lang, unsafe, vary.careless(text, lang, rng))
        examples += maker.prompt("own-hidden", lang, unsafe, vary.hidden(text, lang, rng))
        same = rng.random() < 0.67
        for _ in range(2):
            parts = [rng.choice(asides_in[lang] if same else asides).text, text]
            rng.shuffle(parts)
            examples += maker.prompt("own-beside", lang, unsafe, rng.choice(["\n", " ", "\n\n"]).join(parts))
    return examples


def within(own: list[Example], asides: list[Example], maker: Maker, rng: random.Random) -> list[Example]:
    """Long texts of one language, nearly a window each: harmless ones in a row, in every second an unsafe prompt."""
    examples = []
    for lang in LANGUAGES:
        pool = [aside.text for aside in asides if aside.lang == lang]
        bad = [example.text for example in own if example.lang == lang and example.unsafe and len(example.text) < 200]
        for count in range(2 * LONG):
            texts, unsafe = [], count % 2 == 1
            if unsafe:
                texts.append(rng.choice(bad))
            separator, room = rng.choice(["\n", " ", "\n\n"]), rng.randint(WINDOW // 2, WINDOW)
            for aside in rng.sample(pool, len(pool)):
                longer = [*texts, aside]
                if len(maker.encoder.plain(separator.join(longer))) > room:
                    break
                texts = longer
            rng.shuffle(texts)
            examples += maker.prompt("own-within", lang, unsafe, separator.join(texts))
    return examples


def own_responses(folder: Path, maker: Maker, validation: bool, rng: random.Random) -> list[Example]:
    """Each group's three answers; in training also cut short, and after another prompt than their own."""
    rows = [
        row
        for path in sorted((folder / "responses").glob("*.jsonl"))
        for row in read(path)
        if is_validation(row["group"]) == validation
    ]
    examples = []
    for row in rows:
        for kind in ("refusal", "help", "comply"):
            for lang, text in row[kind].items():
                unsafe, prompt = kind == "comply", row["prompt"][lang]
                parallel = f"{row['group']}/{kind}"
                examples += maker.response(f"own-{kind}", lang, unsafe, prompt, text, parallel)
                if validation:
                    continue
                # The first words of going along with it say nothing yet; a safe answer is safe wherever it stops.
                short = cut(text, 0.6 if unsafe else 0.05, rng)
                examples += maker.response(f"own-{kind}-cut", lang, unsafe, prompt, short)
                other = rng.choice(rows)["prompt"].get(lang, prompt)
                examples += maker.response(f"own-{kind}-moved", lang, unsafe, other, text)
    return examples


def daily(folder: Path, maker: Maker, validation: bool, own: list[Example], rng: random.Random) -> list[Example]:
    """Ordinary requests with the openings of ordinary answers: all safe.

    In training the answers also follow another's prompt, even an unsafe one, and are cut anywhere.
    """
    examples = []
    for row in (row for path in sorted((folder / "daily").glob("*.jsonl")) for row in read(path)):
        if is_validation(row["group"]) != validation:
            continue
        for lang, text in row["prompt"].items():
            examples += maker.prompt("daily", lang, False, text, row["group"])
            if "answer" not in row:
                continue
            answer = row["answer"][lang]
            examples += maker.response("daily", lang, False, text, answer, row["group"] + "/answer")
            if not validation:
                other = rng.choice([e for e in own if e.lang == lang])
                examples += maker.response("daily-moved", lang, False, other.text, cut(answer, 0.05, rng))
    return examples


def openers(maker: Maker, validation: bool, own: list[Example], rng: random.Random) -> list[Example]:
    """General first words after many prompts: a refusal is safe, and going along is as safe as what was asked."""
    examples = []
    for row in read(HERE / "openers.jsonl"):
        if is_validation(row["group"]) != validation:
            continue
        for lang, text in row["text"].items():
            pool = [example for example in own if example.lang == lang]
            for example in rng.sample(pool, min(FOLLOWED, len(pool))):
                unsafe = row["kind"] == "comply" and example.unsafe
                source = row["kind"] if row["kind"] == "refusal" or unsafe else "opener"
                examples += maker.response(source, lang, unsafe, example.text, text)
    return examples


def cut(text: str, least: float, rng: random.Random) -> str:
    """A beginning of the text, as a stream shows it before its end."""
    return text[: max(1, int(len(text) * rng.uniform(least, 1)))]


def training(data: Path, text: Path, maker: Maker, config: dict) -> list[list[Example]]:
    """What each of the runs is trained on: each draws public rows, and varies our own, by a seed of its own."""
    return [
        one_training(data, text, maker, config["draws"], random.Random(config["seed"] + number))
        for number in range(len(config["runs"]))
    ]


def one_training(data: Path, text: Path, maker: Maker, draws: dict, rng: random.Random) -> list[Example]:
    """The sources that `draws` names, in languages where a task has both labels."""
    own = own_prompts(text, maker, validation=False)
    rows = public(sample(list(read(data / "train.jsonl")), draws, rng), maker)
    ordinary = daily(text, maker, False, own, rng)
    examples = [*rows, *own, *own_responses(text, maker, False, rng), *ordinary, *openers(maker, False, own, rng)]
    sentences = [e for e in rows if e.source == "benign_sea" and e.lang in LANGUAGES and len(e.text) < 200]
    asides = [e for e in (*own, *ordinary) if e.task == "prompt" and not e.unsafe and len(e.text) < 200]
    asides += rng.sample(sentences, min(len(asides), len(sentences)))
    examples += [*varied(own, asides, maker, rng), *within(own, asides, maker, rng)]
    labels = defaultdict(set)
    for example in examples:
        labels[(example.task, example.lang)].add(example.unsafe)
    return [e for e in examples if e.source in draws[e.task] and len(labels[(e.task, e.lang)]) == 2]


def kept_back(rows: list[dict], trained: list[Example], maker: Maker) -> list[Example]:
    """Ordinary harmless public rows that training did not draw."""
    seen = {example.text for example in trained}
    spare, counts = [], defaultdict(int)
    for row in rows:
        if row["source"] not in EVERYDAY or row["lang"] not in LANGUAGES or counts[row["lang"]] >= SPARE:
            continue
        examples = public([row], maker)
        if not any(example.unsafe or example.text in seen for example in examples):
            spare += examples
            counts[row["lang"]] += 1
    return spare


def validation(data: Path, text: Path, maker: Maker) -> list[Example]:
    """What the guard is measured on; the rest of the public validation rows are of other kinds of text."""
    rows = public(list(read(data / "valid.jsonl")), maker)
    own = own_prompts(text, maker, validation=True)
    rng = random.Random(0)
    return [
        *(e for e in rows if e.lang in LANGUAGES and e.source not in NOT_MEASURED),
        *own,
        *own_responses(text, maker, True, rng),
        *daily(text, maker, True, own, rng),
        *openers(maker, True, own, rng),
    ]
