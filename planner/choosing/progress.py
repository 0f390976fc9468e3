"""What a search says of itself while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: the best score so far, a bound on all scores (requests/s), 1 - best ÷ bound, and the time.

    `what` is what it does now, in a few words.
    """

    best_rps: float
    bound_rps: float
    gap: float
    seconds: float
    what: str


Report: TypeAlias = Callable[[Progress], None]
"""Told of progress, every time there is some."""


def unheard(_: Progress) -> None:
    """Report to nobody."""
