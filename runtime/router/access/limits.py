"""What a client key may still ask: requests and tokens a minute, each a token bucket that holds one minute's worth."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MINUTE_S = 60.0


class TokenBucket:
    """Fills at `per_minute`, up to that much. It may be overdrawn: then it is empty until the debt is refilled."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._now = now
        self._level = float(per_minute)
        self._at = now()

    @property
    def level(self) -> float:
        """What is in it now; below 0 while it is overdrawn."""
        now = self._now()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / MINUTE_S)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        self._level = self.level - amount

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` is in it."""
        return max(amount - self.level, 0.0) * MINUTE_S / self.per_minute


@dataclass(frozen=True, slots=True)
class LimitReached:
    """Which limit is reached (`requests` or `tokens`), and when asking again will do."""

    kind: str
    per_minute: int
    retry_after_s: float


class KeyLimits:
    """The limits of one key; None: unlimited.

    A request is taken when it comes (one that is of several sequences counts as so many), its tokens when it has ended,
    since only then are they known: nothing is guessed from `max_tokens`. Requests that run together can so overdraw the
    tokens, and the key then waits until the debt is refilled: over time it gets what it may have, and no more.
    """

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._buckets = {kind: TokenBucket(limit, now) for kind, limit in limits.items() if limit is not None}

    @property
    def most_requests(self) -> int | None:
        """How many there may be at once, which is how many in a minute."""
        return self._buckets["requests"].per_minute if "requests" in self._buckets else None

    def ask(self, requests: int = 1) -> LimitReached | None:
        """Take so many requests, unless a limit is reached."""
        for kind, bucket in self._buckets.items():
            if wait_s := bucket.wait_s(requests if kind == "requests" else 1.0):
                return LimitReached(kind, bucket.per_minute, wait_s)
        if "requests" in self._buckets:
            self._buckets["requests"].take(requests)
        return None

    def spend(self, tokens: int) -> None:
        if "tokens" in self._buckets:
            self._buckets["tokens"].take(tokens)

    def headers(self) -> Mapping[str, str]:
        """`x-ratelimit-…` as OpenAI's API has it: what the limit is, what is left, and when it is whole again."""
        said = {}
        for kind, bucket in self._buckets.items():
            said[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
            said[f"x-ratelimit-remaining-{kind}"] = str(max(math.floor(bucket.level), 0))
            said[f"x-ratelimit-reset-{kind}"] = _duration(bucket.wait_s(bucket.per_minute))
        return said


def _duration(seconds: float) -> str:
    """Such as `1m0.25s`, which is how OpenAI's API writes it."""
    minutes, rest = divmod(round(seconds, 3), MINUTE_S)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
