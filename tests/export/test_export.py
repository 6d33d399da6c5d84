"""The command: what it writes, what it refuses, and how it goes on after a break."""

import errno
import hashlib
import json
import os
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from export import architecture, weights
from export.__main__ import main
from export.checkpoint import Checkpoint
from export.refused import Refused
from export.weights import JOURNAL
from export.words import Words
from safetensors.numpy import load_file, save_file

from conftest import FIXTURES, TINY, edit, padded, session


def run(model, out, *more, guard=TINY, dtype="fp32"):
    main([str(model), "--guard", str(guard), "--dtype", dtype, "--out", str(out), *more])


def refused(*arguments, **options) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments, **options)
    message = stopped.value.code
    assert isinstance(message, str)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["fp32", "int4"])
def test_folder_is_a_guard(tmp_path, capsys, dtype):
    out = tmp_path / "guard"
    run(FIXTURES / "gemma3", out, dtype=dtype)
    assert sorted(path.name for path in out.iterdir()) == [
        "golden.jsonl", "guard.toml", "incremental.onnx", "prefill.onnx", "tokenizer.json", "weights.bin",
    ]  # fmt: skip
    manifest = tomllib.loads((out / "guard.toml").read_text())
    assert manifest["kind"] == "decoder-label"
    for file in manifest["files"].values():
        assert file["sha256"] == hashlib.sha256((out / file["path"]).read_bytes()).hexdigest()
    assert manifest["output"]["labels"] == [{"text": "safe", "id": 270}, {"text": "unsafe", "id": 275}]
    assert manifest["tasks"]["prompt"]["template"][:2] == [
        {"ids": [2, 3]},
        {"text": manifest["tasks"]["prompt"]["template"][1]["text"]},
    ]
    assert {"slot": "prompt", "max": 64} in manifest["tasks"]["response"]["template"]
    assert "Random weights" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["fp32", "int4"])
def test_golden_scores_are_the_graphs(tmp_path, dtype):
    out = tmp_path / "guard"
    run(FIXTURES / "gemma3", out, dtype=dtype)
    lines = [json.loads(line) for line in (out / "golden.jsonl").read_text().splitlines()]
    assert {line["task"] for line in lines} == {"prompt", "response"}
    logits = session(out / "prefill.onnx").run(None, padded([line["ids"] for line in lines], 0))[0]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares[:, 1], [line["score"] for line in lines], atol=1e-4)


def test_worst_pass_is_the_golden_score(tmp_path):
    guidelines = ["No harm: the user must not ask for harm.", "No tea: the user must not ask for tea.", "No."]
    tiny = Path(TINY).read_text().replace("Gemma3ForConditionalGeneration", "Gemma2ForCausalLM")
    tiny = tiny.replace("\nHuman user:{text}", "\n{pass}\nHuman user:{text}")
    tiny = tiny.replace("[templates.fig23.response]", f"passes = {json.dumps(guidelines)}\n[templates.fig23.response]")
    (tmp_path / "passes.toml").write_text(tiny)
    run(FIXTURES / "gemma2", tmp_path / "guard", guard=tmp_path / "passes.toml")
    task = tomllib.loads((tmp_path / "guard" / "guard.toml").read_text())["tasks"]["prompt"]
    assert task["passes"] == guidelines
    words = Words(tmp_path / "guard" / "tokenizer.json")
    graph = session(tmp_path / "guard" / "prefill.onnx")
    lines = [json.loads(line) for line in (tmp_path / "guard" / "golden.jsonl").read_text().splitlines()]
    worst = []
    for line in lines:
        if line["task"] == "prompt":
            filled = [words.fill(task["template"], line | {"pass": guideline}) for guideline in guidelines]
            logits = graph.run(None, padded(filled, 0))[0]
            shares = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
            assert line["ids"] == filled[0]
            np.testing.assert_allclose(shares.max(), line["score"], atol=1e-4)
            worst.append(shares.argmax())
    assert set(worst) != {0}


def test_controls_that_are_not_special_become_so(tmp_path, gemma, capsys):
    def unprotected(tokenizer):
        for token in tokenizer["added_tokens"]:
            token["special"] = token["content"] not in ("<eos>", "<end_of_turn>", "<|im_end|>", "<pad>")

    edit(gemma / "tokenizer.json", unprotected)
    (tmp_path / "prefix.toml").write_text('prefix = "<eos>Safety"\n' + Path(TINY).read_text())
    run(gemma, tmp_path / "guard", guard=tmp_path / "prefix.toml")
    assert "3 added tokens are made special" in capsys.readouterr().out
    source = json.loads((tmp_path / "guard" / "tokenizer.json").read_text())
    plain = [token["content"] for token in source["added_tokens"] if not token["special"]]
    assert plain == ["<pad>"]
    words = Words(FIXTURES / "gemma3" / "tokenizer.json")
    template = tomllib.loads((tmp_path / "guard" / "guard.toml").read_text())["tasks"]["prompt"]["template"]
    assert {"ids": [words.controls["<end_of_turn>"]]} in template
    assert template[-1] == {"ids": [words.controls["<eos>"], *words.encode("Safety")]}


def test_tokenizer_without_such_tokens_is_copied(tmp_path):
    run(FIXTURES / "gemma3", tmp_path / "guard")
    own = (FIXTURES / "gemma3" / "tokenizer.json").read_bytes()
    assert (tmp_path / "guard" / "tokenizer.json").read_bytes() == own


def test_sequence_without_the_tokenizers_bos_is_refused(tmp_path, gemma):
    """A chat template prints nothing for a bos_token that it is not given."""
    (tmp_path / "frameless.toml").write_text(re.sub("(?m)^frame = .*$", 'frame = ""', Path(TINY).read_text()))
    begin = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    processor = {
        "type": "TemplateProcessing",
        "single": begin,
        "pair": [*begin, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
    }
    edit(gemma / "tokenizer.json", lambda tokenizer: tokenizer.update(post_processor=processor))
    edit(gemma / "tokenizer_config.json", lambda config: config.update(bos_token=None))
    assert "begins every text with <bos>, the template does not" in refused(
        gemma, tmp_path / "guard", guard=tmp_path / "frameless.toml"
    )
    edit(gemma / "tokenizer_config.json", lambda config: config.update(bos_token="<bos>"))
    run(gemma, tmp_path / "guard", guard=tmp_path / "frameless.toml")


def test_int4_for_cuda(tmp_path):
    run(FIXTURES / "gemma3", tmp_path / "guard", "--activations", "bf16", dtype="int4")
    assert tomllib.loads((tmp_path / "guard" / "guard.toml").read_text())["golden"]["tolerance"] == 0.05
    with pytest.raises(SystemExit):
        run(FIXTURES / "gemma3", tmp_path / "other", "--activations", "bf16", dtype="fp32")


def digest(out) -> str:
    return hashlib.sha256((out / "weights.bin").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    out = tmp_path_factory.mktemp("clean") / "guard"
    run(FIXTURES / "gemma3", out)
    return digest(out)


@pytest.mark.parametrize("prefix", ["model.", "model.language_model.", "language_model.model."])
def test_shards_and_names_of_all_versions(tmp_path, gemma, clean, prefix):
    tensors = load_file(gemma / "model.safetensors")
    (own,) = [name.removesuffix("embed_tokens.weight") for name in tensors if name.endswith("embed_tokens.weight")]
    tensors = {name.replace(own, prefix, 1): tensor for name, tensor in tensors.items()}
    (gemma / "model.safetensors").unlink()
    places = {name: f"model-{index % 3 + 1:05}-of-00003.safetensors" for index, name in enumerate(sorted(tensors))}
    for shard in set(places.values()):
        save_file({name: tensor for name, tensor in tensors.items() if places[name] == shard}, gemma / shard)
    (gemma / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    run(gemma, tmp_path / "guard")
    assert digest(tmp_path / "guard") == clean


def test_older_rope_settings_mean_the_same(tmp_path, gemma, clean):
    def older(config):
        text = config["text_config"]
        text |= {"rope_theta": 1e4, "rope_local_base_freq": 1e3, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
        del text["rope_parameters"]

    edit(gemma / "config.json", older)
    run(gemma, tmp_path / "guard")
    assert digest(tmp_path / "guard") == clean


def test_settings_that_are_left_out_are_the_classes_own(tmp_path, gemma, clean):
    """Google's own configurations hold only what differs from them."""

    def shorter(config):
        for key, value in architecture.DEFAULTS["Gemma3ForCausalLM"].items():
            if config["text_config"][key] == value:
                del config["text_config"][key]
        assert "rms_norm_eps" not in config["text_config"]

    edit(gemma / "config.json", shorter)
    run(gemma, tmp_path / "guard")
    assert digest(tmp_path / "guard") == clean


def test_size_that_is_left_out_wrongly_is_refused(tmp_path, gemma):
    edit(gemma / "config.json", lambda config: config["text_config"].pop("head_dim"))
    assert "by config.json (1024, 64)" in refused(gemma, tmp_path / "guard")


def test_text_model_alone(tmp_path, gemma, clean):
    edit(gemma / "config.json", lambda config: config.update(config.pop("text_config")))
    run(gemma, tmp_path / "guard")
    assert digest(tmp_path / "guard") == clean


def without(name):
    return lambda tensors: tensors.pop(next(found for found in tensors if found.endswith(name)))


def spare(tensors):
    tensors["language_model.model.layers.0.self_attn.q_proj.bias"] = np.zeros(128, np.float32)


def narrow(tensors):
    name = next(name for name in tensors if name.endswith("layers.1.mlp.up_proj.weight"))
    tensors[name] = tensors[name][:-1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without("layers.2.mlp.down_proj.weight"), "no tensor .*layers.2.mlp.down_proj.weight"),
        (without("embed_tokens.weight"), "has 0 tensors …embed_tokens.weight"),
        (spare, "1 tensors that the exporter does not know, .*q_proj.bias for one"),
        (narrow, r"up_proj.weight has shape \(95, 64\), by config.json \(96, 64\)"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, gemma, change, why):
    tensors = load_file(gemma / "model.safetensors")
    change(tensors)
    save_file(tensors, gemma / "model.safetensors")
    message = refused(gemma, tmp_path / "guard")
    assert re.search(why, message), message
    assert not (tmp_path / "guard.partial").exists()


def architectures(name):
    return lambda config: config.update(architectures=[name])


def text(**values):
    return lambda config: config["text_config"].update(values)


def rope(**values):
    return lambda config: config["text_config"]["rope_parameters"]["full_attention"].update(values)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (architectures("GPT2LMHeadModel"), "GPT2LMHeadModel is not supported, only Gemma2"),
        (architectures("LlamaForCausalLM"), "holds a LlamaForCausalLM, the guard's profile"),
        (rope(rope_type="yarn"), "rope type yarn is not supported"),
        (rope(partial_rotary_factor=0.5), "partial rope"),
        (text(final_logit_softcapping=30.0), "sets final_logit_softcapping"),
        (text(layer_types=["full_attention"]), "do not describe 3"),
        (text(hidden_activation="relu"), "activation relu is not supported"),
        (lambda config: config.update(text_config={"vocab_size": 640}), "by config.json (640, 2304)"),
    ],
)
def test_configurations_that_are_not_known(tmp_path, gemma, change, why):
    edit(gemma / "config.json", change)
    assert why in refused(gemma, tmp_path / "guard")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("rms_norm_eps", "has no rms_norm_eps"),
        ("rope_parameters", "has no rope_theta"),
        ("tie_word_embeddings", None),
    ],
)
def test_llamas_settings_are_not_assumed(tmp_path, key, why):
    model = shutil.copytree(FIXTURES / "llama", tmp_path / "model")
    edit(model / "config.json", lambda config: config.pop(key))
    if why is None:
        assert architecture.read(Checkpoint(model), architecture.KNOWN).head == "lm_head.weight"
    else:
        with pytest.raises(Refused, match=why):
            architecture.read(Checkpoint(model), architecture.KNOWN)


def test_wrong_commands(tmp_path, gemma):
    assert "no guard nothing: give the path of a profile, or one of llama-guard-3-8b, " in refused(
        gemma, tmp_path / "guard", guard="nothing"
    )
    assert "no template other, only fig23, bare" in refused(gemma, tmp_path / "guard", "--template", "other")
    assert "is there already" in refused(gemma, tmp_path)
    assert "is this a model's folder" in refused(tmp_path, tmp_path / "guard")
    (gemma / "model.safetensors").unlink()
    assert "fetch the model again" in refused(gemma, tmp_path / "guard")


def test_disk_without_room_is_refused_beforehand(tmp_path, gemma, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=1000, f_frsize=4096))
    assert "has 0.0 GB free, the guard needs 0.1 GB more" in refused(gemma, tmp_path / "guard")
    assert not (tmp_path / "guard.partial").exists()


@pytest.fixture
def broken(tmp_path, gemma, monkeypatch):
    """A run that filled the disk at its eighth tensor; `made` lists what is computed from then on."""
    typed, made = weights._typed, []

    def full(entry):
        if len(made) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        made.append(entry.name)
        return typed(entry)

    monkeypatch.setattr(weights, "_typed", full)
    message = refused(gemma, tmp_path / "guard")
    assert message.startswith("export: the disk is full")
    assert not (tmp_path / "guard").exists()

    def counted(entry):
        made.append(entry.name)
        return typed(entry)

    first = list(made)
    made.clear()
    monkeypatch.setattr(weights, "_typed", counted)
    return SimpleNamespace(partial=tmp_path / "guard.partial", out=tmp_path / "guard", first=first, made=made)


def test_broken_run_goes_on(broken, gemma, clean):
    run(gemma, broken.out)
    assert not set(broken.first) & set(broken.made)
    assert digest(broken.out) == clean
    assert not broken.partial.exists()


def test_damage_is_made_again_and_what_follows_too(broken, gemma, clean):
    with (broken.partial / "weights.bin").open("r+b") as file:
        file.write(b"\xff\xff")
    run(gemma, broken.out)
    assert broken.made[:7] == broken.first
    assert digest(broken.out) == clean


def test_another_export_does_not_go_on_with_it(broken, gemma):
    run(gemma, broken.out, dtype="bf16")
    assert set(broken.first) <= set(broken.made)


def test_model_that_was_fetched_again_is_read_again(broken, gemma, clean):
    os.utime(gemma / "model.safetensors", (1, 1))
    run(gemma, broken.out)
    assert set(broken.first) <= set(broken.made)
    assert digest(broken.out) == clean


def test_configuration_that_was_changed_is_read_again(broken, gemma, tmp_path):
    """Ropes change with it and no shape does: what is kept would be another model's."""
    edit(gemma / "config.json", rope(factor=4.0))
    run(gemma, broken.out)
    assert set(broken.first) <= set(broken.made)
    run(gemma, tmp_path / "clean")
    assert digest(broken.out) == digest(tmp_path / "clean")


def test_decoder_that_is_read_otherwise_is_made_again(broken, gemma, monkeypatch):
    read = architecture.read
    monkeypatch.setattr(architecture, "read", lambda *given: replace(read(*given), norm_offset=0))
    run(gemma, broken.out)
    assert set(broken.first) <= set(broken.made)


def test_journal_names_every_tensor_written(broken):
    assert len((broken.partial / JOURNAL).read_text().splitlines()) == 1 + len(broken.first)
