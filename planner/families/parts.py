"""What the families' configs have in common: sizes, windows and experts, as fields of `LlmSpec`."""

from typing import Any, TypeAlias

from planner.families.config import ModelConfig

Shape: TypeAlias = dict[str, Any]
"""Fields of `LlmSpec` by name."""

FULL, WINDOWED = "full_attention", "sliding_attention"


def common(config: ModelConfig, *, tied: bool = False, states_head_dim: bool = False) -> Shape:
    """The sizes of any decoder. A head is hidden ÷ heads wide, except in families that state its width."""
    hidden, heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    stated = states_head_dim or config.has("head_dim")
    if not stated and hidden % heads:
        raise config.wrong(
            f"has hidden_size {hidden}, {heads} heads and no head_dim; expected a multiple, or a head_dim."
        )
    return {
        "layers": config.whole("num_hidden_layers"),
        "hidden": hidden,
        "intermediate": config.whole("intermediate_size"),
        "heads": heads,
        "kv_heads": config.whole("num_key_value_heads", None if states_head_dim else heads),
        "head_dim": config.whole("head_dim") if stated else hidden // heads,
        "vocabulary": config.whole("vocab_size"),
        "max_positions": config.whole("max_position_embeddings"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=tied),
    }


def windows(config: ModelConfig, *, full_layers: int = 0, used: bool = True) -> Shape:
    """The window and how many layers do without: as `layer_types` lists them, else `full_layers` of the family."""
    layers, kinds = config.whole("num_hidden_layers"), config.words("layer_types")
    window = config.whole("sliding_window", 0) if used else 0
    if window >= config.whole("max_position_embeddings", window + 1):
        window, kinds = 0, []
    if kinds:
        _check_kinds(config, kinds, layers, window)
        full_layers = kinds.count(FULL)
    return {"window": window, "full_layers": full_layers} if window and full_layers < layers else {}


def experts(config: ModelConfig, key: str) -> Shape:
    """How many there are, under the family's own key, and how many of them a token passes."""
    return {"experts": config.whole(key), "active_experts": config.whole("num_experts_per_tok")}


def _check_kinds(config: ModelConfig, kinds: list[str], layers: int, window: int) -> None:
    strange = sorted(set(kinds) - {FULL, WINDOWED})
    if strange:
        raise config.wrong(f"has layer_types {', '.join(strange)}; expected {FULL} and {WINDOWED}.")
    if len(kinds) != layers:
        raise config.wrong(f"has {len(kinds)} layer_types and num_hidden_layers {layers}; expected as many.")
    if WINDOWED in kinds and not window:
        raise config.wrong(f"has layer_types with {WINDOWED} and no sliding_window; expected its tokens.")
