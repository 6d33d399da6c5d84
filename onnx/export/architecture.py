"""What a decoder is made of, from its config.json. What is not known here is refused, never guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .checkpoint import Checkpoint
from .refused import Refused
from .rope import Rope

GEMMA2 = ("Gemma2ForCausalLM",)
GEMMA3 = ("Gemma3ForConditionalGeneration", "Gemma3ForCausalLM")
QWEN2 = ("Qwen2ForCausalLM",)
QWEN3 = ("Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration")
LLAMA = ("LlamaForCausalLM",)
KNOWN = (*GEMMA2, *GEMMA3, *LLAMA, *QWEN2, *QWEN3)
# What transformers' classes assume: the text part of a multimodal configuration holds only what differs. A size that is
# wrongly assumed does not pass the check of the tensors' shapes. Qwen3's rope differs between versions: never assumed.
_QWEN3_DEFAULTS = {
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
}
_GEMMA_DEFAULTS = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
_SOFTCAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
DEFAULTS = (
    dict.fromkeys(GEMMA2, _GEMMA_DEFAULTS | _SOFTCAPS)
    | dict.fromkeys(GEMMA3, _GEMMA_DEFAULTS)
    | {name: {} for name in (*LLAMA, *QWEN2)}
    | dict.fromkeys(QWEN3, _QWEN3_DEFAULTS)
)
# Kinds of layers, and so of ropes.
FULL, SLIDING = "full_attention", "sliding_attention"
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "silu": "silu"}
# Settings that change what the graph would have to be; Gemma 2 alone has caps.
UNKNOWN = ("attention_bias", "mlp_bias", "use_bidirectional_attention", "use_sliding_window", *_SOFTCAPS)
EMBEDDING = "embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Layer:
    """How a layer's attention looks back: over `window` tokens, its own included, or over all; and by which rope."""

    window: int | None
    rope: str


@dataclass(frozen=True)
class Decoder:
    """A decoder-only text model. The tensors' names begin with `prefix`."""

    prefix: str
    head: str
    vocabulary: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    activation: str
    attention_scale: float
    # Embeddings are multiplied by this, norms have 1 + their weight, and sublayers are normed once more after: Gemma.
    embedding_scale: float
    norm_offset: int
    sandwich: bool
    qk_norm: bool
    qkv_bias: bool
    # Bounds of attention scores and of logits: x becomes cap * tanh(x / cap).
    attention_cap: float | None
    logit_cap: float | None
    layers: tuple[Layer, ...]
    ropes: dict[str, Rope]


def tensors(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    """Every tensor of the text model and its shape; names without the prefix, the head's rows aside."""
    hidden, dim = decoder.hidden, decoder.head_dim
    q, kv = decoder.heads * dim, decoder.kv_heads * dim
    layer = {
        "self_attn.q_proj.weight": (q, hidden),
        "self_attn.k_proj.weight": (kv, hidden),
        "self_attn.v_proj.weight": (kv, hidden),
        "self_attn.o_proj.weight": (hidden, q),
        "mlp.gate_proj.weight": (decoder.intermediate, hidden),
        "mlp.up_proj.weight": (decoder.intermediate, hidden),
        "mlp.down_proj.weight": (hidden, decoder.intermediate),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    if decoder.sandwich:
        layer |= {"pre_feedforward_layernorm.weight": (hidden,), "post_feedforward_layernorm.weight": (hidden,)}
    if decoder.qk_norm:
        layer |= {"self_attn.q_norm.weight": (dim,), "self_attn.k_norm.weight": (dim,)}
    if decoder.qkv_bias:
        layer |= {"self_attn.q_proj.bias": (q,), "self_attn.k_proj.bias": (kv,), "self_attn.v_proj.bias": (kv,)}
    named = {EMBEDDING: (decoder.vocabulary, hidden), "norm.weight": (hidden,)}
    for index in range(len(decoder.layers)):
        named |= {f"layers.{index}.{name}": shape for name, shape in layer.items()}
    return named


def read(checkpoint: Checkpoint, wanted: tuple[str, ...]) -> Decoder:
    """The decoder that the checkpoint holds, one of the `wanted` architectures, all its tensors and no others there.

    Raises Refused for an architecture, a setting or a set of tensors that is not known.
    """
    architecture = (checkpoint.config.get("architectures") or ["none"])[0]
    if architecture not in KNOWN:
        raise Refused(f"architecture {architecture} is not supported, only {', '.join(KNOWN)}")
    if architecture not in wanted:
        raise Refused(f"the folder holds a {architecture}, the guard's profile is for {' or '.join(wanted)}")
    decoder = _decoder(architecture, checkpoint)
    expected = {decoder.prefix + name: shape for name, shape in tensors(decoder).items()}
    for name, shape in (expected | {decoder.head: (decoder.vocabulary, decoder.hidden)}).items():
        checkpoint.check(name, shape)
    text = (decoder.prefix + "layers.", decoder.prefix + "norm.", decoder.prefix + "embed")
    if unknown := sorted(name for name in checkpoint.shapes if name.startswith(text) and name not in expected):
        raise Refused(f"the model has {len(unknown)} tensors that the exporter does not know, {unknown[0]} for one")
    return decoder


def _decoder(architecture: str, checkpoint: Checkpoint) -> Decoder:
    config = _Config(DEFAULTS[architecture] | (checkpoint.config.get("text_config") or checkpoint.config))
    gemma2, gemma = architecture in GEMMA2, architecture in (*GEMMA2, *GEMMA3)
    for key in UNKNOWN:
        if config.get(key) and not (gemma2 and key in _SOFTCAPS):
            raise Refused(f"config.json sets {key}, which the exporter does not support for {architecture}")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    activation = config["hidden_activation" if gemma else "hidden_act"]
    if activation not in ACTIVATIONS:
        raise Refused(f"activation {activation} is not supported, only {', '.join(ACTIVATIONS)}")
    prefix = _prefix(checkpoint)
    # Left out where it is the class's default: tied for Gemma, not for the others.
    tied = config.get("tie_word_embeddings", checkpoint.config.get("tie_word_embeddings", gemma))
    heads_of_its_own = [name for name in checkpoint.shapes if name.endswith(HEAD)] or [HEAD]
    return Decoder(
        prefix=prefix,
        head=prefix + EMBEDDING if tied else heads_of_its_own[0],
        vocabulary=checkpoint.shapes[prefix + EMBEDDING][0],
        hidden=hidden,
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config["num_key_value_heads"],
        head_dim=head_dim,
        epsilon=config["rms_norm_eps"],
        activation=ACTIVATIONS[activation],
        attention_scale=(config.get("query_pre_attn_scalar") or head_dim) ** -0.5,
        embedding_scale=math.sqrt(hidden) if gemma else 1.0,
        norm_offset=int(gemma),
        sandwich=gemma,
        qk_norm=architecture in (*GEMMA3, *QWEN3),
        qkv_bias=architecture in QWEN2,
        attention_cap=config["attn_logit_softcapping"] if gemma2 else None,
        logit_cap=config["final_logit_softcapping"] if gemma2 else None,
        layers=_layers(config, 2 if gemma2 else 6) if gemma else (Layer(None, FULL),) * config["num_hidden_layers"],
        ropes=_gemma3_ropes(config, head_dim) if architecture in GEMMA3 else _one_rope(config, head_dim),
    )


class _Config(dict):
    def __missing__(self, key: str):
        raise Refused(f"config.json has no {key}: it is not a complete configuration")


def _prefix(checkpoint: Checkpoint) -> str:
    """Names differ with the version that saved them: `model.`, `language_model.model.`, `model.language_model.`."""
    found = [name for name in checkpoint.shapes if name.endswith(EMBEDDING)]
    if len(found) != 1:
        raise Refused(f"{checkpoint.folder} has {len(found)} tensors …{EMBEDDING}, a text model has one")
    return found[0].removesuffix(EMBEDDING)


def _layers(config: _Config, pattern: int) -> tuple[Layer, ...]:
    count, pattern = config["num_hidden_layers"], config.get("sliding_window_pattern", pattern)
    types = config.get("layer_types") or [SLIDING if (index + 1) % pattern else FULL for index in range(count)]
    if len(types) != count or not set(types) <= {FULL, SLIDING}:
        raise Refused(f"config.json has layer_types that do not describe {count} full or sliding layers")
    window = config["sliding_window"]
    return tuple(Layer(window if kind == SLIDING else None, kind) for kind in types)


def _gemma3_ropes(config: _Config, dim: int) -> dict[str, Rope]:
    if parameters := config.get("rope_parameters"):
        return {kind: Rope.read(parameters.get(kind) or {}, None, dim) for kind in (FULL, SLIDING)}
    # The older form: scaling is meant for the global layers only. Defaults are those of Gemma3TextConfig.
    return {
        FULL: Rope.read(config.get("rope_scaling") or {}, config.get("rope_theta", 1e6), dim),
        SLIDING: Rope.read({}, config.get("rope_local_base_freq", 1e4), dim),
    }


def _one_rope(config: _Config, dim: int) -> dict[str, Rope]:
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return dict.fromkeys((FULL, SLIDING), Rope.read(parameters, config.get("rope_theta"), dim))
