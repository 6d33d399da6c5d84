"""The exported graphs in ONNX Runtime, on the provider that is measured."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto

from machine import Machine, Stopped

KINDS = {torch.float32: TensorProto.FLOAT, torch.bfloat16: TensorProto.BFLOAT16}


def session(path: Path, machine: Machine, profiled: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # As Seawall runs it: shapes differ from run to run.
    options.enable_mem_pattern = False
    # Idle threads would otherwise keep the cores from the peer, which runs in the same process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_profiling = profiled
    options.profile_file_prefix = str(path)
    # A provider that takes memory in powers of two does not leave room for a peer.
    settings = {"arena_extend_strategy": "kSameAsRequested"} if machine.gpu else {}
    made = onnxruntime.InferenceSession(str(path), options, providers=[(machine.provider, settings)])
    if made.get_providers()[0] != machine.provider:
        raise Stopped(f"ONNX Runtime fell back to {made.get_providers()[0]}: its log above says why")
    return made


class Prefill:
    """`prefill.onnx`: whole sequences, padded on the right."""

    def __init__(self, path: Path, machine: Machine, profiled: bool = False):
        self.session = session(path, machine, profiled)

    def __call__(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return self.session.run(["label_logits"], {"input_ids": ids, "lengths": lengths})[0]

    def elsewhere(self) -> dict[str, int]:
        """Ends a profile: operators, by name, that another provider than the wanted one ran."""
        wanted = self.session.get_providers()[0]
        path = Path(self.session.end_profiling())
        events = [event["args"] for event in json.loads(path.read_text()) if "provider" in event.get("args", {})]
        path.unlink()
        return dict(Counter(event["op_name"] for event in events if event["provider"] != wanted))


class Past:
    """The keys and values of a sequence so far, on the device; `buffer` tokens of room."""

    def __init__(self, graph: Incremental, buffer: int):
        self.shape = (1, graph.kv_heads, buffer, graph.head_dim)
        # A tensor without elements has no address to bind.
        room = (1, graph.kv_heads, max(buffer, 1), graph.head_dim)
        device, dtype = graph.machine.device, graph.machine.dtype
        self.tensors = [torch.empty(room, device=device, dtype=dtype) for _ in range(graph.parts)]

    @property
    def buffer(self) -> int:
        return self.shape[2]


class Incremental:
    """`incremental.onnx`: one sequence that goes on from a past, which stays on the device."""

    def __init__(self, path: Path, machine: Machine):
        self.machine = machine
        self.session = session(path, machine)
        pasts = self.session.get_inputs()[2:]
        self.parts = len(pasts)
        self.kv_heads, self.head_dim = pasts[0].shape[1], pasts[0].shape[3]
        self.inputs = [value.name for value in pasts]
        self.outputs = [value.name for value in self.session.get_outputs()[1:]]
        self.labels = self.session.get_outputs()[0].shape[1]

    def __call__(self, ids: np.ndarray, length: int, past: Past) -> tuple[np.ndarray, Past]:
        """The logits after `ids`, which follow the past's first `length` tokens, and the past that they leave."""
        present = Past(self, max(past.buffer, length + len(ids)))
        logits = np.empty((1, self.labels), np.float32)
        binding = self.session.io_binding()
        binding.bind_cpu_input("input_ids", np.asarray(ids, np.int64)[None])
        binding.bind_cpu_input("past_length", np.array([length], np.int64))
        binding.bind_output("label_logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        device, kind = self.machine.device, KINDS[self.machine.dtype]
        for name, tensor in zip(self.inputs, past.tensors, strict=True):
            binding.bind_input(name, device, 0, kind, past.shape, tensor.data_ptr())
        for name, tensor in zip(self.outputs, present.tensors, strict=True):
            binding.bind_output(name, device, 0, kind, present.shape, tensor.data_ptr())
        self.session.run_with_iobinding(binding)
        return logits[0], present
