"""Prompts that a decode replica computes by itself although its route has a prefill replica, as they are short there.

Up to which length that is sooner than a transfer the routes say (`local_below_tokens`), and how much of it a decode
replica bears beside its decoding too (`local_tokens_per_s`). The router does not tokenize: it learns from usage how
many tokens a byte of a request makes.
"""

import time
from collections.abc import Callable
from enum import StrEnum

BURST_S = 1.0
"""What may be computed at once, of the allowed rate."""
MEMORY = 255 / 256
"""What one more request leaves of the weight of those before it."""
MOST_BYTES_PER_TOKEN = 32
"""A request with more of them is not mostly text: pictures say nothing about the others."""


class Bypass(StrEnum):
    """Why a prompt stays where it is decoded: all of it is short, or what is left of it by a prefix that is there."""

    LENGTH = "length"
    PREFIX = "prefix"


class TokensPerByte:
    """Prompt tokens ÷ bytes of the request's body, learned. It begins with a token every four bytes."""

    def __init__(self) -> None:
        self._tokens, self._bytes = 256.0, 1024.0

    def saw(self, size_bytes: int, prompt_tokens: int) -> None:
        if size_bytes > prompt_tokens * MOST_BYTES_PER_TOKEN:
            return
        self._tokens = self._tokens * MEMORY + prompt_tokens
        self._bytes = self._bytes * MEMORY + size_bytes

    def of(self, size_bytes: int) -> float:
        return size_bytes * self._tokens / self._bytes


class Budget:
    """Prompt tokens/s that may go to one decode replica: a leaky bucket (the generic cell rate algorithm, I.371)."""

    def __init__(self, tokens_per_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._tokens_per_s = tokens_per_s
        self._now = now
        self._free_at = 0.0

    def inherit(self, before: "Budget") -> None:
        """Go on with what was spent."""
        self._free_at = before._free_at

    def take(self, tokens: float) -> bool:
        """Whether so many may be computed now; if so, they are spent."""
        now = self._now()
        if self._tokens_per_s <= 0 or self._free_at > now + BURST_S:
            return False
        self._free_at = max(now, self._free_at) + tokens / self._tokens_per_s
        return True
