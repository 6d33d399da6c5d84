"""What is run: random tokens in the shapes of a guard's work, and what runs it in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PROMPT = 128
# Control tokens come first in the tokenizer's vocabulary.
FIRST = 12


@dataclass(frozen=True)
class Workload:
    """Sequences of these lengths as one batch."""

    name: str
    lengths: tuple[int, ...]

    def batch(self, vocabulary: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return padded([tokens(length, vocabulary, rng) for length in self.lengths])


def workloads(quick: bool) -> list[Workload]:
    sizes = (1, 8, 32) if quick else (1, 8, 32, 64)
    prompts = [Workload(f"{size} of {PROMPT} tokens", (PROMPT,) * size) for size in sizes]
    ragged = tuple(np.linspace(PROMPT // 4, PROMPT, 32).astype(int).tolist())
    # The last one is longer than the sliding window of 1,024.
    return [*prompts, Workload(f"32 of {ragged[0]} to {PROMPT} tokens", ragged), Workload("1 of 2048 tokens", (2048,))]


def tokens(count: int, vocabulary: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(FIRST, vocabulary, count)


def padded(sequences: list[np.ndarray] | list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """A batch of ids, padded on the right, and the lengths."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    ids = np.zeros((len(sequences), lengths.max()), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths


def in_turn(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each contender in each round: in turn, so that the machine's moods meet all of them."""
    order = list(contenders)
    times = {name: np.zeros(rounds) for name in order}
    for turn in range(-1, rounds):
        for name in order if turn % 2 else reversed(order):
            started = time.perf_counter()
            contenders[name]()
            # The first turn only warms up: kernels are chosen and memory is taken.
            if turn >= 0:
                times[name][turn] = time.perf_counter() - started
    return times
