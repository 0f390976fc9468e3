"""What replicas were given to do and have not ended: what the router itself sent them, exact and never late.

Engines' own queues are read a beat behind; a router that chose by those alone would send everybody to the replica that
was idle a second ago. They only add what the router can't know: requests that others sent (`queues.py`).
"""

from collections import Counter
from dataclasses import dataclass, field

TYPICAL_OF = 64
"""Requests that the typical size is the mean of, about."""


@dataclass(slots=True)
class Load:
    """By replica: bytes of requests whose prompts are yet to be computed, and requests at it or on their way to it.

    Where answers come from, each sequence of a request counts: an engine runs it like a request of its own.

    `beyond`: requests at it that this router did not send, above 0. `typical_bytes` is the size of a request, of late.
    """

    prompt_bytes: dict[str, int] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    beyond: dict[str, int] = field(default_factory=dict)
    typical_bytes: float = 0.0

    def saw(self, size_bytes: int) -> None:
        self.typical_bytes += (size_bytes - self.typical_bytes) / (TYPICAL_OF if self.typical_bytes else 1)


class Booking:
    """One request's part of the load. It is moved along as the request goes, and gone at its end."""

    __slots__ = ("_computing", "_decoding", "_load", "_sequences", "_size_bytes")

    def __init__(self, load: Load, size_bytes: int, sequences: int = 1) -> None:
        self._load = load
        self._size_bytes = size_bytes
        self._sequences = sequences
        self._computing: str | None = None
        self._decoding: str | None = None
        load.saw(size_bytes)

    def at(self, computing: str | None, decoding: str | None) -> None:
        """Its prompt is computed by one replica (None: it is already), and its answer comes from another, or will."""
        self._count(-1)
        self._computing, self._decoding = computing, decoding
        self._count(1)

    def computed(self) -> None:
        """The prompt is computed."""
        self.at(None, self._decoding)

    def end(self) -> None:
        self.at(None, None)

    def _count(self, sign: int) -> None:
        if self._computing is not None:
            _add(self._load.prompt_bytes, self._computing, sign * self._size_bytes)
            if self._computing != self._decoding:
                _add(self._load.requests, self._computing, sign)
        if self._decoding is not None:
            _add(self._load.requests, self._decoding, sign * self._sequences)


def _add(counts: dict[str, int], replica: str, amount: int) -> None:
    """What comes to nothing is forgotten, so that replicas of old epochs leave no trace."""
    if left := counts.get(replica, 0) + amount:
        counts[replica] = left
    else:
        counts.pop(replica, None)
