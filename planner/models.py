"""The models we know by name, and any other by its Hugging Face `config.json`."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any, get_type_hints

from planner.errors import SpecError
from planner.families.config import ModelConfig
from planner.families.known import family_of
from planner.families.stored import known_dtype, stored_dtype
from planner.llm import LlmSpec
from planner.tables import table

ANY_CONFIG_HINT = (
    "A directory or a config.json works too, of the Llama, Mistral, Qwen, Gemma, Phi, OPT or gpt-oss families."
)


def llm_named(name: str, dtype: str = "") -> LlmSpec:
    """The embedded model of this name or repository, stored as `dtype` if one is given."""
    llm = models().get(name.lower()) or _by_repository().get(name.lower())
    if llm is None:
        near = get_close_matches(name.lower(), models(), n=3, cutoff=0.4) or list(models())
        raise SpecError(f"Model {name!r} is not known; expected one such as {', '.join(near)}.", hint=ANY_CONFIG_HINT)
    try:
        return replace(llm, dtype=known_dtype(name, dtype)) if dtype else llm
    except ValueError as error:
        raise SpecError(f"Model {name} cannot be stored so: {error}") from error


def llm_from_config(config: Mapping[str, Any], name: str, dtype: str = "") -> LlmSpec:
    """The shape that a `config.json` states; `dtype` overrides how it says its weights are stored."""
    read = ModelConfig(name, config)
    shape = family_of(read)(read)
    stored = known_dtype(name, dtype) if dtype else stored_dtype(read)
    try:
        return LlmSpec(name=name, dtype=stored, **shape)
    except ValueError as error:
        raise SpecError(f"The config of {name} is wrong: {error}") from error


@cache
def _by_repository() -> dict[str, LlmSpec]:
    return {llm.repository.lower(): llm for llm in models().values() if llm.repository}


@cache
def models() -> dict[str, LlmSpec]:
    """Every embedded model by its name."""
    return {row["name"]: _model(row) for row in table("models")}


def _model(row: Mapping[str, str]) -> LlmSpec:
    """Cells left empty take `LlmSpec`'s defaults."""
    kinds = get_type_hints(LlmSpec)
    return LlmSpec(**{key: _cell(text, kinds[key]) for key, text in row.items() if text})


def _cell(text: str, kind: type) -> Any:
    return text == "yes" if kind is bool else kind(text)
