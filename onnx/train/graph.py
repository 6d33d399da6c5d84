"""Writes the guard's ONNX graph: a BERT encoder and its head, in fp32 or int8.

The graph is written node by node rather than traced, so that it uses the CPU provider's fused operators and its
weights are quantised exactly as said here. In int8, activations have fixed scales, measured beforehand: scales found at
run time would span the batch, and a text's score would then depend on its padding and on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from encode import END
from model import EPSILON, HEADS

Arrays = dict[str, np.ndarray]

OPSET = 17
IR_VERSION = 8
MICROSOFT = "com.microsoft"
# CPUs without VNNI add pairs of u8 x s8 products in 16 bits, which saturate; products with 7-bit weights cannot.
WEIGHT_TOP = 63

INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Range:
    """How a value that int8 layers read is quantised: divided by `smooth` channel by channel, then by `step`.

    A few channels of a post-norm BERT are far larger than the rest. Dividing them here, and multiplying the weights
    that meet them, leaves the product as it was and the other channels their precision.
    """

    smooth: np.ndarray
    step: float
    zero: int


class Graph:
    """Collects nodes and weights. With `ranges`, every linear layer is int8."""

    def __init__(self, arrays: Arrays, ranges: dict[str, Range] | None = None):
        self.arrays = arrays
        self.ranges = ranges
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, TensorProto] = {}
        self.linear_inputs: set[str] = set()

    def node(self, op: str, inputs: list[str], name: str, domain: str = "", **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def fused(self, op: str, inputs: list[str], name: str, **attributes) -> str:
        return self.node(op, inputs, name, domain=MICROSOFT, **attributes)

    def weight(self, name: str, array: np.ndarray) -> str:
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def stored(self, name: str) -> str:
        return self.weight(name, self.arrays[name].astype(np.float32))

    def linear(self, value: str, name: str, bias: bool = True) -> str:
        """The layer `name` of the arrays applied to `value`; without its bias where a later node adds that."""
        weight = self.arrays[f"{name}.weight"].astype(np.float32)
        self.linear_inputs.add(value)
        if self.ranges is None:
            product = self.node("MatMul", [value, self.weight(f"{name}.weight", weight.T)], f"{name}.product")
            return self.node("Add", [product, self.stored(f"{name}.bias")], f"{name}.sum") if bias else product
        weight = weight * self.ranges[value].smooth
        scale = np.abs(weight).max(axis=1) / WEIGHT_TOP
        codes = np.round(weight / scale[:, None]).astype(np.int8)
        inputs = [
            *self.quantised(value),
            self.weight(f"{name}.scale", scale.astype(np.float32)),
            f"{value}.zero",
            self.weight(f"zeros.{len(scale)}", np.zeros(len(scale), np.int8)),
        ]
        inputs.insert(1, self.weight(f"{name}.codes", codes.T))
        if bias:
            inputs.append(self.stored(f"{name}.bias"))
        return self.fused("MatMulIntegerToFloat", inputs, f"{name}.sum")

    def quantised(self, value: str) -> tuple[str, str]:
        """The value's codes and their scale; layers that read the same value share them."""
        codes, scale = f"{value}.codes", f"{value}.scale"
        if scale not in self.weights:
            kept = self.ranges[value]
            shrink = self.weight(f"{value}.shrink", (1 / kept.smooth).astype(np.float32))
            inputs = [self.node("Mul", [value, shrink], f"{value}.smooth")]
            inputs.append(self.weight(scale, np.float32(kept.step)))
            inputs.append(self.weight(f"{value}.zero", np.uint8(kept.zero)))
            self.node("QuantizeLinear", inputs, codes)
        return codes, scale


def build(arrays: Arrays, ranges: dict[str, Range] | None = None, observed: bool = False) -> ModelProto:
    """The model; `observed` makes the values that linear layers read outputs too, to measure them."""
    graph = Graph(arrays, ranges)
    states = _embeddings(graph)
    mask = graph.node("Cast", ["attention_mask"], "mask.int32", to=TensorProto.INT32)
    layers = 1 + max(int(name.split(".")[2]) for name in arrays if name.startswith("encoder.layer."))
    for layer in range(layers):
        states = _layer(graph, states, mask, f"encoder.layer.{layer}")
    _head(graph, states)

    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"]) for name in INPUTS]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    if observed:
        outputs += [helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in sorted(graph.linear_inputs)]
    proto = helper.make_graph(graph.nodes, "seawall", ids, outputs, list(graph.weights.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="seawall")
    if not observed:
        checker.check_model(model)
    return model


def _embeddings(graph: Graph) -> str:
    words = graph.arrays["embeddings.word_embeddings.weight"]
    if graph.ranges is None:
        word = graph.node("Gather", [graph.stored("embeddings.word_embeddings.weight"), "input_ids"], "word")
    else:
        scale = np.abs(words).max(axis=1, keepdims=True) / 127 + 1e-12
        codes = graph.weight("words.codes", np.round(words / scale).astype(np.int8))
        scales = graph.weight("words.scale", scale.astype(np.float32))
        word = graph.node("Gather", [codes, "input_ids"], "word.codes")
        word = graph.node("Cast", [word], "word.float", to=TensorProto.FLOAT)
        word = graph.node("Mul", [word, graph.node("Gather", [scales, "input_ids"], "word.scale")], "word")
    # One sentence type only, so its row is part of every position's.
    places = graph.arrays["embeddings.position_embeddings.weight"]
    places = places + graph.arrays["embeddings.token_type_embeddings.weight"][0]
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    zero = graph.weight("zero", np.array([0], np.int64))
    place = graph.node("Slice", [graph.weight("places", places.astype(np.float32)), zero, length, zero], "place")
    total = graph.node("Add", [word, place], "embedding")
    return _norm(graph, "LayerNormalization", [total], "embeddings.LayerNorm")


def _norm(graph: Graph, op: str, values: list[str], name: str) -> str:
    inputs = [*values, graph.stored(f"{name}.weight"), graph.stored(f"{name}.bias")]
    if op == "LayerNormalization":
        return graph.node(op, inputs, name, axis=-1, epsilon=EPSILON)
    return graph.fused(op, inputs, name, epsilon=EPSILON)


def _layer(graph: Graph, states: str, mask: str, name: str) -> str:
    views = [graph.linear(states, f"{name}.attention.self.{view}") for view in ("query", "key", "value")]
    mixed = graph.fused("MultiHeadAttention", [*views, "", mask], f"{name}.mixed", num_heads=HEADS)
    mixed = graph.linear(mixed, f"{name}.attention.output.dense")
    states = _norm(graph, "SkipLayerNormalization", [mixed, states], f"{name}.attention.output.LayerNorm")
    inner = graph.linear(states, f"{name}.intermediate.dense", bias=False)
    inner = graph.fused("BiasGelu", [inner, graph.stored(f"{name}.intermediate.dense.bias")], f"{name}.inner")
    inner = graph.linear(inner, f"{name}.output.dense")
    return _norm(graph, "SkipLayerNormalization", [inner, states], f"{name}.output.LayerNorm")


def _head(graph: Graph, states: str) -> None:
    seen = graph.node("Cast", ["attention_mask"], "seen", to=TensorProto.FLOAT)
    end = graph.node("Equal", ["input_ids", graph.weight("end", np.int64(END))], "end.bool")
    end = graph.node("Cast", [end], "end.float", to=TensorProto.FLOAT)
    count = graph.node("CumSum", [end, graph.weight("one", np.int64(1))], "end.count")
    after = graph.node("GreaterOrEqual", [count, graph.weight("two", np.float32(2))], "after.bool")
    after = graph.node("Cast", [after], "after", to=TensorProto.FLOAT)
    inside = graph.node("Sub", [seen, end], "inside")
    answer = graph.node("Mul", [after, graph.node("Relu", [inside], "inside.only")], "answer")

    whole = _mean(graph, states, seen, "mean.whole")
    answer = _mean(graph, states, answer, "mean.answer")
    both = graph.node("Concat", [whole, answer], "mean.both", axis=-1)
    columns = []
    for value, name in ((whole, "head.prompt"), (both, "head.response")):
        inner = graph.linear(value, f"{name}.dense", bias=False)
        inner = graph.fused("BiasGelu", [inner, graph.stored(f"{name}.dense.bias")], f"{name}.inner")
        product = graph.node("MatMul", [inner, graph.weight(f"{name}.out", graph.arrays[f"{name}.out.weight"].T)], name)
        columns.append(graph.node("Add", [product, graph.stored(f"{name}.out.bias")], f"{name}.logit"))
    graph.node("Concat", columns, "logits", axis=-1)


def _mean(graph: Graph, states: str, weights: str, name: str) -> str:
    one = graph.weight("axis", np.array([1], np.int64))
    row = graph.node("Unsqueeze", [weights, one], f"{name}.row")
    total = graph.node("Squeeze", [graph.node("MatMul", [row, states], f"{name}.sums"), one], f"{name}.sum")
    count = graph.node("ReduceSum", [weights, one], f"{name}.tokens", keepdims=1)
    count = graph.node("Max", [count, graph.weight("least", np.float32(1))], f"{name}.count")
    return graph.node("Div", [total, count], name)
