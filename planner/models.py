"""The models we know by name, and the reading of a Hugging Face `config.json`."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from planner.errors import SpecError
from planner.llm import BYTES_PER_VALUE, LlmSpec
from planner.tables import table

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
ANY_CONFIG_HINT = "A directory or a config.json of a dense Llama, Mistral, Qwen2 or Qwen3 model works too."


def llm_named(name: str, dtype: str = "") -> LlmSpec:
    """The embedded model of this name, stored as `dtype` if one is given."""
    llm = models().get(name.lower())
    if llm is None:
        near = get_close_matches(name.lower(), models(), n=3, cutoff=0.4) or list(models())
        raise SpecError(f"Model {name!r} is not known; expected one such as {', '.join(near)}.", hint=ANY_CONFIG_HINT)
    return replace(llm, dtype=_known_dtype(name, dtype)) if dtype else llm


def llm_from_config(config: Mapping[str, Any], name: str, dtype: str = "") -> LlmSpec:
    """The shape that a `config.json` states; `dtype` overrides how it says its weights are stored."""
    _check_architecture(config, name)
    heads = _whole(config, "num_attention_heads", name)
    hidden = _whole(config, "hidden_size", name)
    try:
        return LlmSpec(
            name=name,
            layers=_whole(config, "num_hidden_layers", name),
            hidden=hidden,
            intermediate=_whole(config, "intermediate_size", name),
            heads=heads,
            kv_heads=_whole(config, "num_key_value_heads", name, heads),
            head_dim=_whole(config, "head_dim", name, hidden // heads),
            vocabulary=_whole(config, "vocab_size", name),
            max_positions=_whole(config, "max_position_embeddings", name),
            dtype=_known_dtype(name, dtype or _stored_dtype(config)),
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except ValueError as error:
        raise SpecError(f"The config of {name} is wrong: {error}") from error


@cache
def models() -> dict[str, LlmSpec]:
    """Every embedded model by its name."""
    return {row["name"]: _model(row) for row in table("models")}


def _model(row: Mapping[str, str]) -> LlmSpec:
    words = ("name", "repository", "revision", "dtype")
    sizes = {key: int(text) for key, text in row.items() if key not in (*words, "tied_embeddings")}
    tied = row["tied_embeddings"] == "yes"
    return LlmSpec(**{key: row[key] for key in words}, **sizes, tied_embeddings=tied)  # type: ignore[arg-type]


def _check_architecture(config: Mapping[str, Any], name: str) -> None:
    found = config.get("architectures") or ["none"]
    if not set(found) & set(ARCHITECTURES):
        raise SpecError(
            f"Model {name} has architecture {', '.join(map(str, found))}; expected one of {', '.join(ARCHITECTURES)}.",
            hint="Mixture-of-experts, multimodal and state-space models cannot be planned yet.",
        )
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        raise SpecError(
            f"Model {name} has sliding-window attention of {config['sliding_window']} tokens; expected full attention.",
            hint="Its KV cannot be moved between replicas yet.",
        )


def _stored_dtype(config: Mapping[str, Any]) -> str:
    quantised = config.get("quantization_config") or {}
    return str(quantised.get("quant_method") or config.get("torch_dtype") or config.get("dtype") or "bfloat16")


def _known_dtype(name: str, dtype: str) -> str:
    if dtype not in BYTES_PER_VALUE:
        raise SpecError(f"Model {name} has dtype {dtype!r}; expected one of {', '.join(BYTES_PER_VALUE)}.")
    return dtype


def _whole(config: Mapping[str, Any], key: str, name: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"The config of {name} has {key} {value!r}; expected a whole number above 0.")
    return value
