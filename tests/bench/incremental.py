"""Makes a random guard of Gemma 3's architecture with the exporter, and runs `incremental.rs` on it.

The guard is small enough for a CPU, and shaped so that attention has the share of the work that it has in the 12B's: 4% at
1,000 tokens. The weights and so the scores mean nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 1024, 4096, 4, 2, 64, 3

TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "query_pre_attn_scalar": HEAD_DIM,
    "num_hidden_layers": LAYERS,
    "hidden_activation": "gelu_pytorch_tanh",
    "layer_types": ["sliding_attention"] * (LAYERS - 1) + ["full_attention"],
    "sliding_window": 512,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}


def tensors(vocabulary: int) -> dict[str, np.ndarray]:
    """Seeded weights, by the names that Hugging Face has for them."""
    noise = np.random.default_rng(1)

    def weight(*shape: int) -> np.ndarray:
        return (noise.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)

    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    layer = {
        "self_attn.q_proj": (q, HIDDEN),
        "self_attn.k_proj": (kv, HIDDEN),
        "self_attn.v_proj": (kv, HIDDEN),
        "self_attn.o_proj": (HIDDEN, q),
        "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
        "mlp.up_proj": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
        "pre_feedforward_layernorm": (HIDDEN,),
        "post_feedforward_layernorm": (HIDDEN,),
        "self_attn.q_norm": (HEAD_DIM,),
        "self_attn.k_norm": (HEAD_DIM,),
    }
    made = {"embed_tokens": weight(vocabulary, HIDDEN), "norm": weight(HIDDEN)}
    for number in range(LAYERS):
        made |= {f"layers.{number}.{name}": weight(*shape) for name, shape in layer.items()}
    return {f"model.{name}.weight": values for name, values in made.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, guard = Path(folder, "model"), Path(folder, "guard")
        model.mkdir()
        words = Tokenizer.from_file(str(ROOT / "tests/fixtures/decoder/tokenizer.json"))
        # One token, as with Gemma's own tokenizer, so that five tokens close the template.
        words.add_tokens(["model"])
        words.save(str(model / "tokenizer.json"))
        vocabulary = words.get_vocab_size()
        config = TEXT | {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": vocabulary}
        (model / "config.json").write_text(json.dumps(config))
        save_file(tensors(vocabulary), model / "model.safetensors")
        export = [sys.executable, "-m", "export", model, "--guard", "sea-guard-12b", "--dtype", "fp32", "--out", guard]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx")}
        subprocess.run(export, env=environment, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cargo", "bench", "--locked", "--quiet", "--bench", "incremental", "--", guard], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
