"""How fast an engine computes prompts whose KV should have come from elsewhere: in turns, so that decoding goes on.

A broken link, or a want of tickets, would otherwise turn a decode replica into a prefill one. Each such prompt is given
a time from which it may be computed: when those before it are paid for at the allowed rate (a leaky bucket as a queue,
the generic cell rate algorithm of ITU-T I.371). One whole prompt always passes at once. Who would wait too long is
refused: its agent then answers for the engine, and the router tries another replica. Prompts that were routed here to
be computed never wait.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

TOKENS_PER_S = 1000.0
"""Where the plan states no rate: about a fifth of what one GPU computes of an 8B model."""

PATIENCE_S = 5.0
"""A turn that is further off is none: a client has better chances elsewhere."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """From `at` (seconds, by the clock) on a prompt may be computed; it is paid for `takes_s` later."""

    at: float
    takes_s: float


class Recompute:
    """The requests of one engine whose KV could not be loaded. `tell` says a thing to the agent, by name and fields."""

    def __init__(
        self,
        tokens_per_s: float,
        tell: Callable[[str, Mapping[str, Any]], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens_per_s = tokens_per_s
        self._tell = tell
        self._now = now
        self._free_at = 0.0
        self._turns: dict[str, _Turn | None] = {}
        self._refused: set[str] = set()

    def add(self, request_id: str) -> None:
        """Its KV does not come: it has to wait for its turn."""
        self._turns[request_id] = None

    def may_run(self, request_id: str, tokens: int) -> bool:
        """Whether a request may be computed now, `tokens` of it; asked again until it is, or gone."""
        if request_id not in self._turns:
            return True
        turn = self._turns[request_id]
        if turn is None:
            turn = self._turns[request_id] = self._next_turn(request_id, tokens)
        return turn is not None and turn.at <= self._now()

    def forget(self, request_id: str) -> None:
        """It runs, or is gone; if its turn was still ahead, those behind it move up."""
        turn = self._turns.pop(request_id, None)
        self._refused.discard(request_id)
        if turn is not None and turn.at > self._now():
            self._close_gap(turn)

    @property
    def waiting(self) -> bool:
        return bool(self._turns)

    def _next_turn(self, request_id: str, tokens: int) -> _Turn | None:
        now = self._now()
        turn = _Turn(max(now, self._free_at), tokens / self._tokens_per_s)
        if turn.at > now + PATIENCE_S:
            self._refuse(request_id)
            return None
        self._free_at = turn.at + turn.takes_s
        self._tell("note", {"what": "recomputed_tokens", "count": tokens})
        if turn.at > now:
            self._tell("note", {"what": "recompute_waits"})
        return turn

    def _close_gap(self, gone: _Turn) -> None:
        """A turn that nobody takes costs nothing."""
        self._free_at -= gone.takes_s
        for request_id, turn in self._turns.items():
            if turn is not None and turn.at > gone.at:
                self._turns[request_id] = replace(turn, at=turn.at - gone.takes_s)

    def _refuse(self, request_id: str) -> None:
        """Once; it gets a turn yet where nobody ends it."""
        if request_id not in self._refused:
            self._refused.add(request_id)
            self._tell("refuse", {"request": request_id})
