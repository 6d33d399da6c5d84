"""How fast the guard is, beside what the card can do and what `transformers` does with the same weights."""

from __future__ import annotations

import gc
from functools import partial

import numpy as np
import torch

from machine import Machine
from model import Model
from ours import Incremental, Past, Prefill
from peer import Peer
from workloads import in_turn, padded, tokens, workloads

# A stream's check: template and prompt stand before the completion, new tokens come with each check, the last ones are
# encoded again (text that is appended changes up to 4 tokens), and Gemma's template closes with 5.
CONTEXT, COMPLETION, EVERY, AGAIN, CLOSING = 96, 1000, 32, 4, 5


def prefill(machine: Machine, model: Model, dtype: str, rounds: int, quick: bool) -> dict:
    """Batches of whole sequences: `prefill.onnx`, the peer and plain matrix products in turn."""
    rng = np.random.default_rng(1)
    ours = Prefill(model.guard(dtype) / "prefill.onnx", machine)
    peer = Peer(model.checkpoint, machine, model.labels)
    burst, operations = machine.products()
    rows, rates, found, theirs = [], [], [], []
    for workload in workloads(quick):
        ids, lengths = workload.batch(model.config.vocab_size, rng)
        contenders = {"ours": partial(ours, ids, lengths), "peer": partial(peer, ids, lengths), "products": burst}
        found.append(ours(ids, lengths))
        theirs.append(peer(ids, lengths))
        times = in_turn(contenders, rounds)
        rates.append(operations / times["products"])
        share = model.operations * lengths.sum() / times["ours"] / rates[-1]
        rows.append(
            {
                "name": workload.name,
                "prompts_s": len(lengths) / float(np.median(times["ours"])),
                "tokens_s": int(lengths.sum()) / float(np.median(times["ours"])),
                "share_of_products": float(np.median(share)),
                "ours_ms": spread(times["ours"] * 1e3),
                "peer_ms": spread(times["peer"] * 1e3),
                "peer_to_ours": spread(times["peer"] / times["ours"]),
            }
        )
    gap = np.diff(np.concatenate(found)) - np.diff(np.concatenate(theirs))
    deviation = np.diff(np.concatenate(theirs)).std()
    return {
        "rounds": rounds,
        "products_a_second": float(np.median(np.concatenate(rates))),
        "rows": rows,
        "difference_from_peer": {"mean": float(np.abs(gap).mean()), "most": float(np.abs(gap).max())},
        "deviation_of_peer": float(deviation),
    }


def incremental(machine: Machine, model: Model, dtype: str, rounds: int) -> dict:
    """Checks of a growing completion: `incremental.onnx` with its past on the device against whole passes."""
    rng = np.random.default_rng(2)
    guard = model.guard(dtype)
    graph = Incremental(guard / "incremental.onnx", machine)
    whole = Prefill(guard / "prefill.onnx", machine)
    draw = partial(tokens, vocabulary=model.config.vocab_size, rng=rng)
    sequence, closing = draw(CONTEXT + COMPLETION), draw(CLOSING)
    ends = [CONTEXT + done for done in (*range(EVERY, COMPLETION, EVERY), COMPLETION)]

    def check(start: int, end: int, past: Past) -> tuple[np.ndarray, Past]:
        return graph(np.concatenate([sequence[start:end], closing]), start, past)

    def full(end: int) -> np.ndarray:
        return whole(*padded([np.concatenate([sequence[:end], closing])]))[0]

    def stream() -> list[np.ndarray]:
        start, past, scored = 0, Past(graph, 0), []
        for end in ends:
            logits, past = check(start, end, past)
            scored.append(logits)
            start = end - AGAIN
        return scored

    held = 1000
    _, past = check(0, held, Past(graph, 0))
    contenders = {
        "check": partial(check, held, held + EVERY, past),
        "full_of_check": partial(full, held + EVERY),
        "stream": stream,
        "full": partial(full, ends[-1]),
        "rescored": lambda: [full(end) for end in ends],
    }
    times = in_turn(contenders, rounds)
    gap = np.abs(np.array(stream()) - np.array([full(end) for end in ends]))
    bandwidth = machine.bandwidth()
    # Only the tokens' own rows are read of the embedding, which is stored in bfloat16.
    embedding = 2 * model.config.vocab_size * model.config.hidden_size
    weights = (guard / "weights.bin").stat().st_size - embedding
    return {
        "rounds": rounds,
        "past": held,
        "new": EVERY + CLOSING,
        "check_ms": spread(times["check"] * 1e3),
        "full_of_check_ms": spread(times["full_of_check"] * 1e3),
        "checks": len(ends),
        "stream_ms": spread(times["stream"] * 1e3),
        "full_ms": spread(times["full"] * 1e3),
        "stream_to_full": spread(times["stream"] / times["full"]),
        "rescored_to_full": spread(times["rescored"] / times["full"]),
        "bytes_a_second": bandwidth,
        "weights_once_ms": weights / bandwidth * 1e3,
        "difference_from_full": {"mean": float(gap.mean()), "most": float(gap.max())},
    }


def release(machine: Machine) -> None:
    """Gives memory back that a step took, so that the next one has it."""
    gc.collect()
    if machine.gpu:
        torch.cuda.empty_cache()


def spread(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": float(values.min()), "most": float(values.max())}
