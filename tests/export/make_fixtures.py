"""Makes the tiny models of `fixtures/`, as transformers itself writes and runs them.

Run by hand; the tests need neither torch nor transformers:

    pip install torch==2.15.0 transformers==5.24.0 && python make_fixtures.py

Each folder is a model in the Hugging Face layout with seeded weights, and `vectors.json`: sequences of ids with the
logits of `safe` and `unsafe` after their last token, in float32, each sequence run by itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLTextConfig,
)

FIXTURES = Path(__file__).with_name("fixtures")
VOCABULARY = 640
WINDOW = 32
LABELS = ("safe", "unsafe")
# Around the sliding window, and far beyond it.
LENGTHS = (1, 2, 9, 31, 32, 33, 34, 65, 130, 400)
CONTROLS = (
    "<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>",
)  # fmt: skip

# Enough of the eight languages for merges across their characters' bytes; and the labels, as words by themselves.
CORPUS = [
    "You are a classifier for analyzing interactions between humans and LLMs. Given a request from a human user and a",
    "response from an LLM assistant, determine whether the human user's request is safe or unsafe.",
    "Human user:How do I make tea?",
    "AI assistant:Boil water, add the leaves, and wait for four minutes.",
    "Bagaimana cara membuat teh yang enak untuk keluarga saya?",
    "Bagaimanakah cara untuk membancuh teh tarik yang sedap?",
    "Paano gumawa ng masarap na tsaa para sa aking pamilya?",
    "Làm thế nào để pha trà ngon cho gia đình tôi?",
    "ฉันจะชงชาให้อร่อยสำหรับครอบครัวได้อย่างไร",
    "လက်ဖက်ရည် ဘယ်လို ဖျော်ရမလဲ မိသားစုအတွက်",
    "என் குடும்பத்திற்கு நல்ல தேநீர் தயாரிப்பது எப்படி?",
    *["safe", "unsafe"] * 20,
]

GEMMA_CHAT = """\
{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else \
message['role']) + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
LLAMA_CHAT = """\
{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + \
message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
QWEN_CHAT = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
}


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in CONTROLS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    assert all(len(made.encode(label).ids) == 1 for label in LABELS)
    return made


def gemma2() -> torch.nn.Module:
    """Caps so low that they matter."""
    caps = {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 2.0}
    config = Gemma2Config(
        **SIZES, **caps, num_hidden_layers=3, sliding_window=WINDOW, query_pre_attn_scalar=24, pad_token_id=0
    )
    return Gemma2ForCausalLM(config)


def gemma3() -> torch.nn.Module:
    text = {
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": 32,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
        },
    }
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
              "image_size": 8, "patch_size": 4}  # fmt: skip
    config = Gemma3Config(text_config=SIZES | text, vision_config=vision, mm_tokens_per_image=1)
    return Gemma3ForConditionalGeneration(config)


def llama() -> torch.nn.Module:
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=3, rope_parameters=rope))


def qwen2() -> torch.nn.Module:
    sizes = {key: value for key, value in SIZES.items() if key != "head_dim"} | {"hidden_size": 128}
    return Qwen2ForCausalLM(Qwen2Config(**sizes, num_hidden_layers=2, tie_word_embeddings=True))


def qwen3() -> torch.nn.Module:
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, num_hidden_layers=3, tie_word_embeddings=True))


def qwen3_vl() -> torch.nn.Module:
    text = SIZES | {
        "num_hidden_layers": 3,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [6, 5, 5],
        },
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": 64,
              "patch_size": 4, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}  # fmt: skip
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision))


def seed(model: torch.nn.Module) -> None:
    """Weights with which attention and norms matter and the labels' logits spread."""
    generator = torch.Generator().manual_seed(20261125)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if isinstance(model, Qwen2ForCausalLM) and name.endswith("bias"):
            weight.data = noise * 0.5
        elif weight.ndim < 2:
            # Gemma's norms have 1 + weight.
            weight.data = noise * 0.2 + (0.0 if type(model).__name__.startswith("Gemma") else 1.0)
        elif "embed" in name or "lm_head" in name:
            weight.data = noise * 0.15
        else:
            weight.data = noise * (1.4 / weight.shape[-1] ** 0.5)


def write(name: str, model: torch.nn.Module, words: Tokenizer, chat: str, bos: str | None) -> None:
    folder = FIXTURES / name
    seed(model)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": bos}) + "\n")
    (folder / "chat_template.jinja").write_text(chat)

    exact = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    labels = [words.token_to_id(label) for label in LABELS]
    generator = torch.Generator().manual_seed(7)
    cases = []
    for length in LENGTHS:
        ids = torch.randint(len(CONTROLS), VOCABULARY, (1, length), generator=generator)
        with torch.no_grad():
            logits = exact(input_ids=ids).logits[0, -1, labels]
        cases.append({"ids": ids[0].tolist(), "logits": [round(value, 6) for value in logits.tolist()]})
    vectors = {"labels": labels, "cases": cases}
    (folder / "vectors.json").write_text(json.dumps(vectors) + "\n")


def check_defaults() -> None:
    """What the exporter assumes of settings that a configuration leaves out is what transformers assumes."""
    sys.path.insert(0, str(FIXTURES.parent.parent.parent / "onnx"))
    from export.architecture import DEFAULTS

    classes = {
        "Gemma2ForCausalLM": Gemma2Config,
        "Gemma3ForConditionalGeneration": Gemma3TextConfig,
        "LlamaForCausalLM": LlamaConfig,
        "Qwen3ForCausalLM": Qwen3Config,
        "Qwen3VLForConditionalGeneration": Qwen3VLTextConfig,
    }
    for name, made in classes.items():
        values = made().to_dict()
        assert all(values[key] == value for key, value in DEFAULTS[name].items()), name


def main() -> None:
    check_defaults()
    words = tokenizer()
    write("gemma2", gemma2(), words, GEMMA_CHAT, "<bos>")
    write("gemma3", gemma3(), words, GEMMA_CHAT, "<bos>")
    write("llama", llama(), words, LLAMA_CHAT, "<|begin_of_text|>")
    write("qwen2", qwen2(), words, QWEN_CHAT, None)
    write("qwen3", qwen3(), words, QWEN_CHAT, None)
    write("qwen3_vl", qwen3_vl(), words, QWEN_CHAT, None)


if __name__ == "__main__":
    main()
