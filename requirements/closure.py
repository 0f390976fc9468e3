"""What requirements lead to, among the distributions that are installed here."""

from collections.abc import Iterable
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Those installed that fulfil the requirements, and theirs, by name; what another platform needs is left out."""
    waiting = [(Requirement(text), "") for text in requirements]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        if name not in found:
            found[name] = distribution(wanted.name)
        for one in ("", *wanted.extras):
            if (name, one) not in seen:
                seen.add((name, one))
                waiting += [(Requirement(text), one) for text in found[name].requires or ()]
    return found
