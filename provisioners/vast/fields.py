"""Fields of Vast.ai's bundles, read with suspicion."""

from collections.abc import Mapping
from math import isfinite
from typing import Any


def number(bundle: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = bundle.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}; expected a number of 0 or more")
    return float(value)


def optional(bundle: Mapping[str, Any], name: str, default: float | None) -> float | None:
    return default if bundle.get(name) is None else number(bundle, name)


def version(text: Any) -> float:
    """The first two numbers of a version such as 575.51.03; 0 where none is stated."""
    parts = str(text or "").split(".")[:2]
    return float(".".join(parts)) if all(part.isdigit() for part in parts) else 0.0


def verified(bundle: Mapping[str, Any]) -> bool:
    """Whether Vast.ai vouches for the host, by its bundles' field or the search's own word; silence is a no."""
    stated = bundle.get("verification")
    return stated == "verified" if stated is not None else bundle.get("verified") is True
