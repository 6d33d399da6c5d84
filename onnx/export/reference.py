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
    states = [embed(ids) * np.float32(decoder.embedding_scale) for ids in sequences]
    for index, layer in enumerate(decoder.layers):
        weights = _Layer(read, f"layers.{index}.")
        states = [_layer(decoder, layer, weights, state) for state in states]
    final = np.stack([_norm(decoder, state[-1], read("norm.weight")) for state in states])
    return final @ read("labels").T


class _Layer:
    """The weights of one layer, each read when first asked for."""

    def __init__(self, read: Read, prefix: str):
        self.read, self.prefix = read, prefix
        self.held: dict[str, np.ndarray] = {}

    def __call__(self, name: str) -> np.ndarray:
        if name not in self.held:
            self.held[name] = self.read(f"{self.prefix}{name}.weight")
        return self.held[name]


def _layer(decoder: Decoder, layer: Layer, weights: _Layer, states: np.ndarray) -> np.ndarray:
    delta = _attention(decoder, layer, weights, _norm(decoder, states, weights("input_layernorm")))
    if decoder.sandwich:
        states = states + _norm(decoder, delta, weights("post_attention_layernorm"))
        delta = _feed_forward(decoder, weights, _norm(decoder, states, weights("pre_feedforward_layernorm")))
        return states + _norm(decoder, delta, weights("post_feedforward_layernorm"))
    states = states + delta
    return states + _feed_forward(decoder, weights, _norm(decoder, states, weights("post_attention_layernorm")))


def _norm(decoder: Decoder, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    scale = 1 / np.sqrt(np.mean(values * values, axis=-1, keepdims=True) + decoder.epsilon)
    return values * scale * (weight + decoder.norm_offset)


def _attention(decoder: Decoder, layer: Layer, weights: _Layer, states: np.ndarray) -> np.ndarray:
    length = len(states)
    query, key, value = (
        (states @ weights(f"self_attn.{part}_proj").T).reshape(length, -1, decoder.head_dim) for part in "qkv"
    )
    if decoder.qk_norm:
        query = _norm(decoder, query, weights("self_attn.q_norm"))
        key = _norm(decoder, key, weights("self_attn.k_norm"))
    angles = np.arange(length)[:, None] * np.array(decoder.ropes[layer.rope].frequencies)
    query, key = _turn(query, angles), _turn(key, angles)
    group = decoder.heads // decoder.kv_heads
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", query, key) * decoder.attention_scale
    behind = np.arange(length)[:, None] - np.arange(length)
    seen = (behind >= 0) & (behind < (layer.window or length))
    scores = np.where(seen, scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    heads = np.einsum("hqk,khd->qhd", shares, value).reshape(length, -1)
    return heads @ weights("self_attn.o_proj").T


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
