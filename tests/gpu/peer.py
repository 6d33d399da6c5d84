"""The same work in `transformers`, with torch's scaled dot product attention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from machine import Machine


class Peer:
    def __init__(self, model: Path, machine: Machine, labels: list[int]):
        self.device = machine.device
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=machine.dtype, attn_implementation="sdpa")
        self.body = loaded.to(machine.device).eval().get_decoder()
        # The label rows alone, as in our graphs: the whole head would cost the peer more.
        self.head = loaded.get_input_embeddings().weight[labels]

    @torch.inference_mode()
    def __call__(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        tokens, ends = (torch.from_numpy(value).to(self.device) for value in (ids, lengths))
        mask = torch.arange(tokens.shape[1], device=self.device) < ends[:, None]
        states = self.body(input_ids=tokens, attention_mask=mask.long(), use_cache=False).last_hidden_state
        last = states[torch.arange(len(tokens), device=self.device), ends - 1]
        return (last @ self.head.T).float().cpu().numpy()
