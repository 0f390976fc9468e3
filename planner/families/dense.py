"""Families without experts: what each calls its sizes, and what its layers have beside a plain decoder's.

A function a family, from its config to fields of `LlmSpec`. Defaults are those of Hugging Face's config classes.
"""

from planner.families.config import ModelConfig
from planner.families.parts import Shape, common, windows

GEMMA3_DEFAULTS = {
    **{"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208},
    **{"max_position_embeddings": 131072, "sliding_window": 4096},
}
"""Configs of multimodal Gemma 3 state only what differs from these."""
OPT_POSITION_OFFSET = 2
"""Rows of OPT's position table before the first position's."""


def llama(config: ModelConfig) -> Shape:
    """Llama 1 to 3 and what has their shape. An attention bias is one on O as well."""
    # Some conversions of Llama 1 call it max_sequence_length.
    named = config.with_defaults({"max_position_embeddings": config.values.get("max_sequence_length")})
    bias = config.flag("attention_bias")
    return {
        **common(named),
        **windows(config),
        "attention_bias": bias,
        "mlp_bias": config.flag("mlp_bias"),
        "extra_layer_parameters": config.whole("hidden_size") if bias else 0,
    }


def mistral(config: ModelConfig) -> Shape:
    """Also Phi-3 and Phi-4. All layers of Mistral 7B v0.1 and of Phi-3 mini have windows."""
    return {**common(config), **windows(config)}


def qwen2(config: ModelConfig) -> Shape:
    return {**common(config), **qwen_windows(config), "attention_bias": True}


def qwen3(config: ModelConfig) -> Shape:
    """Q and K are normed, head by head. An attention bias is one on O as well."""
    shape, bias = common(config, states_head_dim=True), config.flag("attention_bias")
    extra = 2 * shape["head_dim"] + (shape["hidden"] if bias else 0)
    return {**shape, **qwen_windows(config), "attention_bias": bias, "extra_layer_parameters": extra}


def qwen_windows(config: ModelConfig) -> Shape:
    """Windows are off unless `use_sliding_window`; then the first `max_window_layers` layers go without."""
    used = config.flag("use_sliding_window")
    return windows(config, full_layers=config.whole("max_window_layers", 28) if used else 0, used=used)


def gemma(config: ModelConfig) -> Shape:
    return common(config, tied=True, states_head_dim=True)


def gemma2(config: ModelConfig) -> Shape:
    """Every second layer attends to all; norms follow attention and feed-forward too."""
    shape = gemma(config)
    return {**shape, **windows(config, full_layers=shape["layers"] // 2), "extra_layer_parameters": 2 * shape["hidden"]}


def gemma3(config: ModelConfig) -> Shape:
    """Gemma 2's norms, and Q and K normed by head; every sixth layer attends to all.

    Of a multimodal model the language model alone: its image encoder, 0.4 B parameters, is not counted.
    """
    text = config.replaced(config.section("text_config").values).with_defaults(GEMMA3_DEFAULTS)
    shape = gemma(text)
    full_layers = shape["layers"] // text.whole("sliding_window_pattern", 6)
    extra = 2 * shape["hidden"] + 2 * shape["head_dim"]
    return {**shape, **windows(text, full_layers=full_layers), "extra_layer_parameters": extra}


def phi(config: ModelConfig) -> Shape:
    """Phi-1 and 2: a plain feed-forward, biases on all matrices, and one norm, with a bias, for both halves."""
    if config.flag("qk_layernorm"):
        raise config.wrong("has qk_layernorm true; expected false, as Phi-1 and Phi-2 have it.")
    shape = common(config)
    return {
        **shape,
        "gated": False,
        "attention_bias": True,
        "mlp_bias": True,
        "extra_layer_parameters": shape["hidden"],
    }


def opt(config: ModelConfig) -> Shape:
    """A plain feed-forward, biases on all matrices and norms, and learned positions."""
    hidden = config.whole("hidden_size")
    width = config.whole("word_embed_proj_dim", hidden)
    if width != hidden:
        raise config.wrong(f"has word_embed_proj_dim {width} and hidden_size {hidden}; expected them to be equal.")
    if not config.flag("enable_bias", default=True):
        raise config.wrong("has enable_bias false; expected true.")
    shape = common(config.with_defaults({"intermediate_size": config.whole("ffn_dim")}), tied=True)
    return {
        **shape,
        **{"gated": False, "attention_bias": True, "mlp_bias": True},
        "positions": shape["max_positions"] + OPT_POSITION_OFFSET,
        "extra_layer_parameters": 3 * hidden,
    }
