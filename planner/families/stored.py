"""How a checkpoint stores its weights, from its config: a key of `BYTES_PER_VALUE`."""

from collections.abc import Mapping
from reprlib import repr as brief
from typing import Any

from planner.errors import SpecError
from planner.families.config import ModelConfig
from planner.llm import BYTES_PER_VALUE

METHODS = {"awq": "awq", "gptq": "gptq", "fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4"}
"""By `quant_method`, beside compressed-tensors, which says bits and type."""
INT4_METHODS = ("awq", "gptq")


def stored_dtype(config: ModelConfig) -> str:
    """What `quantization_config` says, else the dtype, else bfloat16."""
    if config.has("quantization_config"):
        return _quantised(config, config.section("quantization_config").values)
    stated = config.values.get("dtype") or config.values.get("torch_dtype") or "bfloat16"
    return known_dtype(config.name, str(stated))


def known_dtype(name: str, dtype: str) -> str:
    if dtype not in BYTES_PER_VALUE:
        raise SpecError(f"Model {name} has dtype {dtype!r}; expected one of {', '.join(BYTES_PER_VALUE)}.")
    return dtype


def _quantised(config: ModelConfig, quantised: Mapping[str, Any]) -> str:
    method = str(quantised.get("quant_method"))
    if method == "compressed-tensors":
        return _compressed(config, quantised)
    if method not in METHODS:
        raise config.wrong(f"has quant_method {method!r}; expected one of {', '.join(METHODS)}, compressed-tensors.")
    bits = quantised.get("bits", quantised.get("w_bit", 4))
    if method in INT4_METHODS and bits != 4:
        raise config.wrong(f"has {method} weights of {bits!r} bits; expected 4.")
    return METHODS[method]


def _compressed(config: ModelConfig, quantised: Mapping[str, Any]) -> str:
    """Of 8-bit floats or 4-bit whole numbers, alike in all groups."""
    groups = quantised.get("config_groups")
    kinds = [_kind(group) for group in groups.values()] if isinstance(groups, Mapping) else []
    match kinds:
        case [(8, "float"), *others] if all(other == kinds[0] for other in others):
            return "fp8"
        case [(4, "int"), *others] if all(other == kinds[0] for other in others):
            return "int4"
        case _:
            raise config.wrong(f"has compressed-tensors weights of {brief(kinds)}; expected 8-bit float or 4-bit int.")


def _kind(group: Any) -> tuple[Any, Any]:
    """(bits, type) of a group's weights."""
    weights = group.get("weights") if isinstance(group, Mapping) else None
    return (weights.get("num_bits"), weights.get("type")) if isinstance(weights, Mapping) else (None, None)
