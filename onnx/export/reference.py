"""A decoder's forward pass in numpy, layer by layer over all sequences: what the exported graphs must agree with.

It shares the checkpoint and the configuration with the graphs and nothing else. A layer's weights are read once and
dropped, so that a model of any size needs the memory of one layer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .architecture import Decoder, Layer

# A tensor as float32, by its name without the prefix; `labels` are the head's rows.
Read = Callable[[str], np.ndarray]
# The rows of the embedding for some ids, as float32.
Embed = Callable[[list[int]], np.ndarray]


def logits(decoder: Decoder, read: Read, embed: Embed, sequences: list[list[int]]) -> np.ndarray:
    """The label tokens' logits after each sequence, float32 [sequences, labels]."""
    # One behind the other: only attention tells them apart.
    states = embed([token for ids in sequences for token in ids]) * np.float32(decoder.embedding_scale)
    ends = np.cumsum([len(ids) for ids in sequences])
    for index, layer in enumerate(decoder.layers):
        states = _layer(decoder, layer, _Layer(read, f"layers.{index}."), states, ends)
    return _capped(_norm(decoder, states[ends - 1], read("norm.weight")) @ read("labels").T, decoder.logit_cap)


class _Layer:
    """The weights of one layer, each read when it is asked for and not kept."""

    def __init__(self, read: Read, prefix: str):
        self.read, self.prefix = read, prefix

    def __call__(self, name: str, kind: str = "weight") -> np.ndarray:
        return self.read(f"{self.prefix}{name}.{kind}")


def _layer(decoder: Decoder, layer: Layer, weights: _Layer, states: np.ndarray, ends: np.ndarray) -> np.ndarray:
    delta = _attention(decoder, layer, weights, _norm(decoder, states, weights("input_layernorm")), ends)
    if decoder.sandwich:
        states = states + _norm(decoder, delta, weights("post_attention_layernorm"))
        delta = _feed_forward(decoder, weights, _norm(decoder, states, weights("pre_feedforward_layernorm")))
        return states + _norm(decoder, delta, weights("post_feedforward_layernorm"))
    states = states + delta
    return states + _feed_forward(decoder, weights, _norm(decoder, states, weights("post_attention_layernorm")))


def _norm(decoder: Decoder, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    scale = 1 / np.sqrt(np.mean(values * values, axis=-1, keepdims=True) + decoder.epsilon)
    return values * scale * (weight + decoder.norm_offset)


def _attention(decoder: Decoder, layer: Layer, weights: _Layer, states: np.ndarray, ends: np.ndarray) -> np.ndarray:
    query, key, value = (states @ weights(f"self_attn.{part}_proj").T for part in "qkv")
    if decoder.qkv_bias:
        rows = zip((query, key, value), "qkv", strict=True)
        query, key, value = (row + weights(f"self_attn.{part}_proj", "bias") for row, part in rows)
    query, key, value = (rows.reshape(len(states), -1, decoder.head_dim) for rows in (query, key, value))
    if decoder.qk_norm:
        query = _norm(decoder, query, weights("self_attn.q_norm"))
        key = _norm(decoder, key, weights("self_attn.k_norm"))
    parts = zip(*(np.split(rows, ends[:-1]) for rows in (query, key, value)), strict=True)
    heads = np.concatenate([_attend(decoder, layer, *part) for part in parts])
    return heads @ weights("self_attn.o_proj").T


def _attend(decoder: Decoder, layer: Layer, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """What one sequence's heads make of it, [tokens, heads * dim]."""
    length = len(query)
    angles = np.arange(length)[:, None] * np.array(decoder.ropes[layer.rope].frequencies)
    query, key = _turn(query, angles), _turn(key, angles)
    group = decoder.heads // decoder.kv_heads
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    scores = _capped(np.einsum("qhd,khd->hqk", query, key) * decoder.attention_scale, decoder.attention_cap)
    behind = np.arange(length)[:, None] - np.arange(length)
    seen = (behind >= 0) & (behind < (layer.window or length))
    scores = np.where(seen, scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", shares, value).reshape(length, -1)


def _capped(values: np.ndarray, cap: float | None) -> np.ndarray:
    return cap * np.tanh(values / cap) if cap else values


def _turn(values: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Dimension i and i + half are the two coordinates that an angle turns."""
    first, second = np.split(values, 2, axis=-1)
    turned = (first + 1j * second) * np.exp(1j * angles)[:, None]
    return np.concatenate([turned.real, turned.imag], axis=-1).astype(np.float32)


def _feed_forward(decoder: Decoder, weights: _Layer, states: np.ndarray) -> np.ndarray:
    gate, up = states @ weights("mlp.gate_proj").T, states @ weights("mlp.up_proj").T
    if decoder.activation == "gelu":
        gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    else:
        gate = gate / (1 + np.exp(-gate))
    return (gate * up).astype(np.float32) @ weights("mlp.down_proj").T
