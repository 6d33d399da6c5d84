"""The graphs against transformers: the vectors of the tiny models were computed by it, in float32."""

import numpy as np
import onnx
import pytest
from export import graph, reference
from export.layout import BFLOAT
from export.quantise import quantise
from onnx import TensorProto, helper, numpy_helper

from conftest import MODELS, padded, session, vectors

EXACT = 1e-4
WINDOW = 32


def wanted(model: str) -> tuple[list[list[int]], np.ndarray]:
    cases = vectors(model)["cases"]
    return [case["ids"] for case in cases], np.array([case["logits"] for case in cases], np.float32)


@pytest.mark.parametrize("model", MODELS)
def test_vectors_tell_right_from_wrong(model):
    sequences, logits = wanted(model)
    lengths = [len(ids) for ids in sequences]
    assert min(lengths) == 1
    assert {WINDOW - 1, WINDOW, WINDOW + 1} <= set(lengths)
    assert max(lengths) > 10 * WINDOW
    assert np.ptp(logits[:, 1] - logits[:, 0]) > 2


@pytest.mark.parametrize("model", MODELS)
def test_prefill_is_transformers(exported, model):
    _, folder = exported(model, "fp32")
    run = session(folder / "prefill.onnx")
    sequences, logits = wanted(model)
    for padding in (0, 300):
        found = run.run(None, padded(sequences, padding))[0]
        np.testing.assert_allclose(found, logits, atol=EXACT)
    for ids, row in zip(sequences, logits, strict=True):
        np.testing.assert_allclose(run.run(None, padded([ids], 0))[0][0], row, atol=EXACT)


@pytest.mark.parametrize("model", MODELS)
def test_incremental_is_transformers_however_split_and_rolled_back(exported, model):
    _, folder = exported(model, "fp32")
    run = session(folder / "incremental.onnx")
    names = [value.name for value in run.get_inputs()[2:]]
    heads, dim = run.get_inputs()[2].shape[1], run.get_inputs()[2].shape[3]
    rng = np.random.default_rng(11)

    def step(ids, length, past):
        past_length = np.array([length])
        logits, *present = run.run(None, {"input_ids": np.array([ids]), "past_length": past_length, **past})
        buffer = past[names[0]].shape[2]
        assert all(value.shape == (1, heads, max(buffer, length + len(ids)), dim) for value in present)
        return logits[0], dict(zip(names, present, strict=True))

    for ids, row in zip(*wanted(model), strict=True):
        for buffer in (0, 7, 40, 512):
            # What lies in a buffer beyond the past is ignored.
            past = {name: np.full((1, heads, buffer, dim), 3, np.float32) for name in names}
            done, logits = 0, None
            while done < len(ids):
                take = int(rng.integers(1, len(ids) - done + 1))
                logits, past = step(ids[done : done + take], done, past)
                done += take
                if done < len(ids) and rng.random() < 0.5:
                    # As after a closing template: other tokens are scored, and the past is cut back behind them.
                    _, past = step(rng.integers(12, 600, 9).tolist(), done, past)
                    done -= int(rng.integers(0, done))
            np.testing.assert_allclose(logits, row, atol=EXACT)


@pytest.mark.parametrize("model", MODELS)
def test_reference_is_transformers(exported, model):
    layout, _ = exported(model, "fp32")
    sequences, logits = wanted(model)
    found = reference.logits(layout.decoder, layout.original, layout.embeddings, sequences)
    np.testing.assert_allclose(found, logits, atol=EXACT)


@pytest.mark.parametrize("block", [32, 128])
@pytest.mark.parametrize("model", MODELS)
def test_int4_computes_with_the_stored_weights(exported, model, block):
    layout, folder = exported(model, "int4", block)
    sequences, _ = wanted(model)
    found = session(folder / "prefill.onnx").run(None, padded(sequences, 0))[0]
    stored = reference.logits(layout.decoder, layout.stored, layout.embeddings, sequences)
    np.testing.assert_allclose(found, stored, atol=EXACT)


@pytest.mark.parametrize("model", MODELS)
def test_int4_stays_near_the_model(exported, model):
    """Random weights forgive least: nothing in them is redundant."""
    _, folder = exported(model, "int4")
    sequences, logits = wanted(model)
    found = session(folder / "prefill.onnx").run(None, padded(sequences, 0))[0]
    gap = np.abs((found - logits) @ [-1, 1])
    assert gap.mean() < 0.5 * np.std(logits @ [-1, 1])


@pytest.mark.parametrize(("inputs", "block"), [(96, 32), (200, 128), (32, 32)])
def test_rounding_is_to_the_nearest_code(inputs, block):
    weight = np.random.default_rng(3).standard_normal((8, inputs)).astype(np.float32)
    weight[0, :block] = 0
    weight[1] = np.abs(weight[1])
    blocks = quantise(weight, block, BFLOAT)
    steps = np.repeat(blocks.scales.astype(np.float32), block, axis=1)[:, :inputs]
    # Half a step, and as much again at a range's ends, where the zero point is rounded too.
    error = np.abs(blocks.restored(inputs) - weight)
    assert (error <= 1.01 * steps).all()
    assert np.sqrt((error**2).mean()) < 0.4 * steps.mean()
    assert (blocks.restored(inputs)[0, :block] == 0).all()


@pytest.mark.parametrize("dtype", ["bf16", "int4"])
@pytest.mark.parametrize("model", MODELS)
def test_bfloat16_graphs_are_sound(exported, model, dtype):
    """ONNX Runtime has no CPU kernels for bfloat16: the graphs are checked, and run with every type widened."""
    layout, folder = exported(model, dtype, activations="bf16")
    sequences, _ = wanted(model)
    stored = reference.logits(layout.decoder, layout.stored, layout.embeddings, sequences)
    for name in ("prefill", "incremental"):
        proto = onnx.load(folder / f"{name}.onnx", load_external_data=False)
        kinds = {value.name: value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
        assert kinds.pop("label_logits") == TensorProto.FLOAT
        assert {kind for value, kind in kinds.items() if "." in value} <= {TensorProto.BFLOAT16}
        onnx.checker.check_model(standard(proto, folder / f"{name}.checked.onnx"))
    (folder / "widened.onnx").write_bytes(widened(onnx.load(folder / "prefill.onnx")).SerializeToString())
    found = session(folder / "widened.onnx").run(None, padded(sequences, 0))[0]
    # What is left of bfloat16 are the rounded angles of the ropes.
    np.testing.assert_allclose(found, stored, atol=0.1)


def standard(proto: onnx.ModelProto, path) -> str:
    """The graph with the norm that ONNX knows by another name, since its checker knows no other."""
    for node in proto.graph.node:
        if node.op_type == "SimplifiedLayerNormalization":
            node.op_type = "RMSNormalization"
    proto.opset_import[0].version = 23
    path.write_bytes(proto.SerializeToString())
    return str(path)


def widened(proto: onnx.ModelProto) -> onnx.ModelProto:
    def wide(kind: int) -> int:
        return TensorProto.FLOAT if kind == TensorProto.BFLOAT16 else kind

    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = wide(value.type.tensor_type.elem_type)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                attribute.CopyFrom(helper.make_attribute("to", wide(attribute.i)))
    return proto


def test_bfloat16_weights_are_the_models_own(exported):
    layout, folder = exported("gemma3", "bf16")
    proto = onnx.load(folder / "prefill.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for name, shape in layout.shapes.items():
        own = layout.source(name)
        if len(shape) == 1:
            np.testing.assert_array_equal(stored[name], 1 + own.astype(np.float32))
        else:
            assert stored[name].dtype == own.dtype
            np.testing.assert_array_equal(stored[name] if "embed" in name else stored[name].T, own)


def test_graphs_share_their_weights(exported):
    _, folder = exported("gemma3", "fp32")
    places = []
    for name in ("prefill", "incremental"):
        proto = onnx.load(folder / f"{name}.onnx", load_external_data=False)
        outside = [tensor for tensor in proto.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
        places.append({tensor.name: {e.key: e.value for e in tensor.external_data} for tensor in outside})
        assert len(proto.SerializeToString()) < 50_000
    assert places[0] == places[1]
    for place in places[0].values():
        assert place["location"] == "weights.bin"
        assert int(place["offset"]) % (4096 if int(place["length"]) >= 4096 else 64) == 0


def test_both_graphs_need_all_weights(exported):
    layout, _ = exported("gemma3", "fp32")
    planned = len(layout.weights.entries)
    graph.prefill(layout)
    graph.incremental(layout)
    assert len(layout.weights.entries) == planned
