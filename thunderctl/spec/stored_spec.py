"""The spec that a deployment was brought up with, as another version may have written it.

What is looked after, ended and counted by it must not depend on whether it validates: what can't be read is left out.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from thunderctl.spec.spec import Spec


def read_stored(written: Mapping[str, Any]) -> tuple[Spec, tuple[str, ...]]:
    """The spec, and the keys that were left out as this version does not know them, or takes no such value.

    Where a key is left out its default holds.
    """
    document, left_out = deepcopy(dict(written)), list[str]()
    while True:
        try:
            return Spec.model_validate(document), tuple(left_out)
        except ValidationError as error:
            left_out.append(_drop(document, error.errors()[0]["loc"]))


def _drop(document: dict[str, Any], path: tuple[int | str, ...]) -> str:
    """Remove what stands at the path, or the innermost thing around it that is there; return its name."""
    holder: Any = document
    found: list[tuple[Any, int | str]] = []
    for key in path:
        is_there = key in holder if isinstance(holder, dict) else isinstance(holder, list) and key in range(len(holder))
        if not is_there:
            break
        found.append((holder, key))
        holder = holder[key]
    if not found:
        document.clear()
        return "all of it"
    del found[-1][0][found[-1][1]]
    return ".".join(str(key) for _, key in found)
