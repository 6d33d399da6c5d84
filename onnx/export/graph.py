"""The two ONNX graphs of a decoder, written node by node.

`prefill` scores whole sequences, padded on the right; `incremental` goes on from a past. Both end in the logits of the
label tokens alone at the last token: a softmax over the labels needs no others. The residual stream, the norms and the
head are float32 whatever the activations are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from .architecture import EMBEDDING
from .layout import FLOAT, Layout

# Old enough for every provider to have kernels: a newer version of an operator needs a kernel of its own.
OPSET = 17
IR_VERSION = 8
MICROSOFT = "com.microsoft"
IDS, LENGTHS, PAST, LOGITS = "input_ids", "lengths", "past_length", "label_logits"


class _Graph:
    def __init__(self, layout: Layout):
        self.layout = layout
        self.decoder = layout.decoder
        self.activations = helper.np_dtype_to_tensor_dtype(layout.activations)
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}

    def node(self, op: str, inputs: list[str], name: str, domain: str = "", **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def weight(self, name: str) -> str:
        """A weight as the layout plans it."""
        self.initializers.setdefault(name, self.layout.entry(name).initializer())
        return name

    def cast(self, value: str, to: int) -> str:
        """Between float32 and the activations' type; nothing where these are the same."""
        if self.activations == TensorProto.FLOAT:
            return value
        return self.node("Cast", [value], f"{value}.{'wide' if to == TensorProto.FLOAT else 'narrow'}", to=to)

    def wide(self, value: str) -> str:
        return self.cast(value, TensorProto.FLOAT)

    def narrow(self, value: str) -> str:
        return self.cast(value, self.activations)

    def norm(self, value: str, weight: str) -> str:
        """Root mean square norm over the last axis, by ONNX Runtime's own operator; both float32."""
        inputs, epsilon = [value, self.weight(weight)], self.decoder.epsilon
        return self.node("SimplifiedLayerNormalization", inputs, f"{value}.norm", epsilon=epsilon, axis=-1)

    def add_norm(self, states: str, delta: str, weight: str) -> tuple[str, str]:
        """The residual stream after a sublayer, and its norm, by one fused operator."""
        total, normed = f"{delta}.residual", f"{delta}.residual.norm"
        self.nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [states, delta, self.weight(weight)],
                [normed, "", "", total],
                name=normed,
                domain=MICROSOFT,
                epsilon=self.decoder.epsilon,
            )
        )
        return total, normed

    def linear(self, value: str, name: str) -> str:
        output = name.removesuffix(".weight")
        if not self.layout.quantised(name):
            product = self.node("MatMul", [value, self.weight(name)], output)
        else:
            outputs, inputs = self.layout.shapes[name]
            parts = [self.weight(f"{name}.{part}") for part in ("codes", "scales", "zeros")]
            attributes = {"K": inputs, "N": outputs, "bits": 4, "block_size": self.layout.block}
            product = self.node("MatMulNBits", [value, *parts], output, domain=MICROSOFT, **attributes)
        if (bias := f"{output}.bias") not in self.layout.shapes:
            return product
        return self.node("Add", [product, self.weight(bias)], f"{output}.sum")


@dataclass(frozen=True)
class _Span:
    """Where the sequences lie: what GroupQueryAttention asks for, and the index of each one's last token.

    `past` is how much of a past's buffer it gets to see; none in `prefill`.
    """

    seqlens: str
    total: str
    last: str
    past: str | None = None


def prefill(layout: Layout) -> ModelProto:
    graph = _Graph(layout)
    one = graph.constant("one", np.array([1], np.int64))
    last = graph.node("Sub", [LENGTHS, one], "last")
    total = graph.node("Squeeze", [graph.node("Shape", [IDS], "sequence", start=1)], "sequence.scalar")
    span = _Span(
        graph.node("Cast", [last], "seqlens", to=TensorProto.INT32),
        graph.node("Cast", [total], "total", to=TensorProto.INT32),
        last,
    )
    _body(graph, span)
    inputs = [_value(IDS, TensorProto.INT64, "batch", "sequence"), _value(LENGTHS, TensorProto.INT64, "batch")]
    return _model(graph, inputs, [_value(LOGITS, TensorProto.FLOAT, "batch", len(layout.labels))])


def incremental(layout: Layout) -> ModelProto:
    graph = _Graph(layout)
    one = graph.constant("one", np.array([1], np.int64))
    length = graph.node("Shape", [IDS], "sequence", start=1)
    total = graph.node("Add", [PAST, length], "total.wide")
    seqlens = graph.node("Sub", [total, one], "seqlens.wide")
    span = _Span(
        graph.node("Cast", [seqlens], "seqlens", to=TensorProto.INT32),
        graph.node("Cast", [graph.node("Squeeze", [total], "total.scalar")], "total", to=TensorProto.INT32),
        graph.node("Sub", [length, one], "last"),
        _seen(graph, total),
    )
    _body(graph, span)
    inputs = [_value(IDS, TensorProto.INT64, 1, "sequence"), _value(PAST, TensorProto.INT64, 1)]
    outputs = [_value(LOGITS, TensorProto.FLOAT, 1, len(layout.labels))]
    decoder = layout.decoder
    for index in range(len(decoder.layers)):
        for part in ("key", "value"):
            shape = (1, decoder.kv_heads, "buffer", decoder.head_dim)
            inputs.append(_value(f"past_key_values.{index}.{part}", graph.activations, *shape))
            shape = (1, decoder.kv_heads, "buffer_after", decoder.head_dim)
            outputs.append(_value(f"present.{index}.{part}", graph.activations, *shape))
    return _model(graph, inputs, outputs)


def _seen(graph: _Graph, total: str) -> str:
    """The whole buffer where the new tokens fit it, else the past alone: the operator takes nothing between."""
    buffer = graph.node("Shape", ["past_key_values.0.key"], "buffer", start=2, end=3)
    return graph.node("Where", [graph.node("Greater", [total, buffer], "outgrown"), PAST, buffer], "seen")


def _body(graph: _Graph, span: _Span) -> None:
    decoder = graph.decoder
    # Ids are gathered from the matrix as it is stored, and only what was gathered is widened.
    states = graph.node("Gather", [graph.weight(EMBEDDING), IDS], "embedding")
    if graph.layout.entry(EMBEDDING).dtype != FLOAT:
        states = graph.node("Cast", [states], "embedding.wide", to=TensorProto.FLOAT)
    if decoder.embedding_scale != 1:
        scale = np.float32(decoder.embedding_scale).astype(graph.layout.activations).astype(np.float32)
        states = graph.node("Mul", [states, graph.constant("embedding.factor", scale)], "embedding.scaled")
    normed = graph.norm(states, "layers.0.input_layernorm.weight")
    for index in range(len(decoder.layers)):
        layer = f"layers.{index}"
        delta = graph.wide(_attention(graph, graph.narrow(normed), index, span))
        after = f"{layer}.post_attention_layernorm.weight"
        if decoder.sandwich:
            delta, after = graph.norm(delta, after), f"{layer}.pre_feedforward_layernorm.weight"
        states, normed = graph.add_norm(states, delta, after)
        delta = graph.wide(_feed_forward(graph, graph.narrow(normed), layer))
        if decoder.sandwich:
            delta = graph.norm(delta, f"{layer}.post_feedforward_layernorm.weight")
        if index + 1 < len(decoder.layers):
            states, normed = graph.add_norm(states, delta, f"layers.{index + 1}.input_layernorm.weight")
        else:
            states = graph.node("Add", [states, delta], "states")
    _head(graph, states, span)


def _attention(graph: _Graph, states: str, index: int, span: _Span) -> str:
    decoder, layer = graph.decoder, graph.decoder.layers[index]
    name = f"layers.{index}.self_attn"
    query, key, value = (graph.linear(states, f"{name}.{part}_proj.weight") for part in "qkv")
    if decoder.qk_norm:
        query = _head_norm(graph, query, f"{name}.q_norm.weight")
        key = _head_norm(graph, key, f"{name}.k_norm.weight")
    # The operator's outputs are not optional, though `prefill` has no use for these.
    past, present = ["", ""], [f"present.{index}.{part}" for part in ("key", "value")]
    if span.past:
        zero, two = graph.constant("zero", np.array([0], np.int64)), graph.constant("two", np.array([2], np.int64))
        kept = [f"past_key_values.{index}.{part}" for part in ("key", "value")]
        past = [graph.node("Slice", [whole, zero, span.past, two], f"{whole}.seen") for whole in kept]
    tables = [graph.weight(f"rope.{layer.rope}.{part}") for part in ("cos", "sin")]
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [query, key, value, *past, span.seqlens, span.total, *tables],
            [f"{name}.heads", *present],
            name=name,
            domain=MICROSOFT,
            num_heads=decoder.heads,
            kv_num_heads=decoder.kv_heads,
            scale=decoder.attention_scale,
            softcap=decoder.attention_cap or 0.0,
            do_rotary=1,
            local_window_size=layer.window or -1,
        )
    )
    return graph.linear(f"{name}.heads", f"{name}.o_proj.weight")


def _head_norm(graph: _Graph, value: str, weight: str) -> str:
    """Each head's part of a query or key, normed by itself."""
    heads = graph.constant("heads", np.array([0, 0, -1, graph.decoder.head_dim], np.int64))
    split = graph.node("Reshape", [graph.wide(value), heads], f"{value}.heads")
    joined = graph.constant("joined", np.array([0, 0, -1], np.int64))
    return graph.narrow(graph.node("Reshape", [graph.norm(split, weight), joined], f"{value}.joined"))


def _feed_forward(graph: _Graph, states: str, layer: str) -> str:
    gate = graph.linear(states, f"{layer}.mlp.gate_proj.weight")
    if graph.decoder.activation == "gelu":
        # ONNX Runtime's name for the tanh form.
        gate = graph.node("FastGelu", [gate], f"{gate}.gelu", domain=MICROSOFT)
    else:
        gate = graph.node("Mul", [gate, graph.node("Sigmoid", [gate], f"{gate}.sigmoid")], f"{gate}.silu")
    up = graph.linear(states, f"{layer}.mlp.up_proj.weight")
    return graph.linear(graph.node("Mul", [gate, up], f"{layer}.mlp.product"), f"{layer}.mlp.down_proj.weight")


def _head(graph: _Graph, states: str, span: _Span) -> None:
    index = graph.node("Unsqueeze", [span.last, graph.constant("last.axis", np.array([1], np.int64))], "last.index")
    state = graph.node("GatherND", [states, index], "last.state", batch_dims=1)
    inputs = [graph.norm(state, "norm.weight"), graph.weight("labels")]
    cap = graph.decoder.logit_cap
    if cap is None:
        graph.node("MatMul", inputs, LOGITS)
    else:
        limit = graph.constant("logit.cap", np.float32(cap))
        share = graph.node("Div", [graph.node("MatMul", inputs, "logits"), limit], "logits.share")
        graph.node("Mul", [graph.node("Tanh", [share], "logits.bounded"), limit], LOGITS)


def _value(name: str, kind: int, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(graph: _Graph, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> ModelProto:
    proto = helper.make_graph(graph.nodes, "seawall", inputs, outputs, list(graph.initializers.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="seawall")
