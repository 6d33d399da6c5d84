"""The guard's network in PyTorch: a BERT encoder whose lower layers are frozen, and a head for the two tasks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encode import END, PAD

HEADS = 12
EPSILON = 1e-12
HEAD_WIDTH = 192


class Layer(nn.Module):
    """One post-norm transformer layer; parameters keep the names of Hugging Face's `BertLayer`."""

    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}),
                "output": nn.ModuleDict(
                    {"dense": nn.Linear(hidden, hidden), "LayerNorm": nn.LayerNorm(hidden, EPSILON)}
                ),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(hidden, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, hidden), "LayerNorm": nn.LayerNorm(hidden, EPSILON)})

    def forward(self, states: Tensor, visible: Tensor, dropout: float) -> Tensor:
        batch, length, hidden = states.shape

        def heads(name: str) -> Tensor:
            return self.attention["self"][name](states).view(batch, length, HEADS, -1).transpose(1, 2)

        # Written out: PyTorch's fused attention has a slow backward pass on CPUs for short texts.
        fit = heads("query") @ heads("key").transpose(2, 3) * (hidden // HEADS) ** -0.5
        mixed = fit.masked_fill(~visible, -1e4).softmax(-1) @ heads("value")
        mixed = self.attention["output"]["dense"](mixed.transpose(1, 2).reshape(batch, length, hidden))
        mixed = F.dropout(mixed, dropout, self.training)
        states = self.attention["output"]["LayerNorm"](states + mixed)
        inner = self.output["dense"](F.gelu(self.intermediate["dense"](states)))
        return self.output["LayerNorm"](states + F.dropout(inner, dropout, self.training))


class Head(nn.Module):
    """Two logits: is the prompt unsafe (the whole text's mean); is the response (that, and the answer's own mean)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.prompt = nn.ModuleDict({"dense": nn.Linear(hidden, HEAD_WIDTH), "out": nn.Linear(HEAD_WIDTH, 1)})
        self.response = nn.ModuleDict({"dense": nn.Linear(2 * hidden, HEAD_WIDTH), "out": nn.Linear(HEAD_WIDTH, 1)})

    def forward(self, states: Tensor, ids: Tensor, dropout: float) -> Tensor:
        whole = mean(states, (ids != PAD).to(states))
        ends = (ids == END).to(torch.int64)
        # The answer stands after the second separator; the closing one is no part of it.
        answer = mean(states, ((ends.cumsum(1) >= 2) & (ends == 0) & (ids != PAD)).to(states))
        columns = []
        for head, value in ((self.prompt, whole), (self.response, torch.cat([whole, answer], -1))):
            inner = F.gelu(head["dense"](F.dropout(value, dropout, self.training)))
            columns.append(head["out"](F.dropout(inner, dropout, self.training)))
        return torch.cat(columns, -1)


def mean(states: Tensor, weights: Tensor) -> Tensor:
    return (states * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)


class Guard(nn.Module):
    """`lower` turns ids into the states of layer `frozen`, once and for all; `upper` is what is trained."""

    def __init__(self, arrays: dict[str, np.ndarray], frozen: int):
        super().__init__()
        self.frozen = frozen
        words = arrays["embeddings.word_embeddings.weight"]
        inner, hidden = arrays["encoder.layer.0.intermediate.dense.weight"].shape
        count = 1 + max(int(name.split(".")[2]) for name in arrays if name.startswith("encoder.layer."))
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(*words.shape),
                "position_embeddings": nn.Embedding(*arrays["embeddings.position_embeddings.weight"].shape),
                "token_type_embeddings": nn.Embedding(*arrays["embeddings.token_type_embeddings.weight"].shape),
                "LayerNorm": nn.LayerNorm(hidden, EPSILON),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(hidden, inner) for _ in range(count))})
        self.head = Head(hidden)
        state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        missing, unexpected = self.load_state_dict(state, strict=False)
        if unexpected or any(not name.startswith("head.") for name in missing):
            raise ValueError(f"the base does not fit: {missing} missing, {unexpected} unexpected")

    @torch.inference_mode()
    def lower(self, ids: Tensor) -> Tensor:
        parts = self.embeddings
        states = parts["word_embeddings"](ids) + parts["token_type_embeddings"].weight[0]
        states = parts["LayerNorm"](states + parts["position_embeddings"].weight[: ids.shape[1]])
        return self._layers(states, ids, 0, self.frozen, 0.0)

    def upper(self, states: Tensor, ids: Tensor, dropout: float = 0.0) -> Tensor:
        states = self._layers(states, ids, self.frozen, len(self.encoder["layer"]), dropout)
        return self.head(states.float(), ids, dropout)

    def _layers(self, states: Tensor, ids: Tensor, first: int, last: int, dropout: float) -> Tensor:
        visible = (ids != PAD)[:, None, None, :]
        for layer in self.encoder["layer"][first:last]:
            states = layer(states, visible, dropout)
        return states

    def trained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters of the upper layers, and those of the head."""
        layers = [p for layer in self.encoder["layer"][self.frozen :] for p in layer.parameters()]
        return layers, list(self.head.parameters())
