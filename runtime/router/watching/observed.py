"""What the router saw of the traffic over the last minutes: what a rebalance is decided on."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WINDOW_S = 300.0
KEPT_REQUESTS = 20_000
LISTED_REQUESTS = 2_000
FAILED = frozenset({"unavailable", "failed", "interrupted", "shed", "late"})
"""Outcomes without success that are no fault of the client's: it did not go away, and its request was not refused."""


@dataclass(slots=True)
class RequestRecord:
    """One request from arrival to end. Times in seconds; None where it never came to that.

    `key` is the name of the client key it came with. `queued_s` is what it waited to be let in.
    """

    arrived_at: float
    outcome: str = ""
    prefill: str | None = None
    decode: str = ""
    phase: str = ""
    prefill_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    request_id: str = ""
    key: str = ""
    codec: str = ""
    queued_s: float = 0.0
    cached_tokens: int | None = None

    @property
    def ended_at(self) -> float:
        """What never got as far as a replica ended as it arrived."""
        return self.arrived_at + (self.e2e_s or 0.0)

    @property
    def answered(self) -> bool:
        """To the end, or until the client had enough."""
        return self.outcome == "ok" or (self.outcome == "cancelled" and self.ttft_s is not None)


class Observed:
    """A sliding window of finished requests, by their ends: one that took longer than the window counts too."""

    def __init__(self, *, window_s: float = WINDOW_S, now: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._now = now
        self._since = now()
        self._records: deque[RequestRecord] = deque(maxlen=KEPT_REQUESTS)
        self._arrivals: deque[float] = deque(maxlen=KEPT_REQUESTS)

    def arrived(self, at: float) -> None:
        self._arrivals.append(at)

    def finished(self, record: RequestRecord) -> None:
        self._records.append(record)

    def summary(self, window_s: float | None = None) -> dict[str, Any]:
        """The window as one JSON object: rates, means, percentiles, and the raw pairs they come from.

        `window_s` asks for the last part of it.
        """
        now = self._now()
        asked_s = self._window_s if window_s is None else min(window_s, self._window_s)
        while self._arrivals and self._arrivals[0] < now - self._window_s:
            self._arrivals.popleft()
        arrivals = sum(at >= now - asked_s for at in self._arrivals)
        records = [record for record in self._records if record.ended_at >= now - asked_s]
        seconds = max(min(asked_s, now - self._since), 1e-9)
        if arrivals == KEPT_REQUESTS:
            seconds = max(now - self._arrivals[0], 1e-9)
        return {
            "window_s": seconds,
            "rate_rps": arrivals / seconds,
            "requests": dict(Counter(record.outcome for record in records)),
            **_lengths(records),
            **_latencies(records),
            **_judged(records),
        }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def _lengths(records: Sequence[RequestRecord]) -> dict[str, Any]:
    pairs = [
        [record.prompt_tokens, record.output_tokens]
        for record in records
        if record.outcome == "ok" and record.prompt_tokens is not None and record.output_tokens is not None
    ]
    return {
        "prompt_tokens_mean": _mean([prompt for prompt, _ in pairs]),
        "output_tokens_mean": _mean([output for _, output in pairs]),
        "lengths": pairs[-LISTED_REQUESTS:],
    }


def _latencies(records: Sequence[RequestRecord]) -> dict[str, Any]:
    ttft = [record.ttft_s for record in records if record.ttft_s is not None]
    tpot = [record.tpot_s for record in records if record.tpot_s is not None]
    return {
        "ttft_p50_s": percentile(ttft, 0.5),
        "ttft_p99_s": percentile(ttft, 0.99),
        "tpot_p50_s": percentile(tpot, 0.5),
        "tpot_p99_s": percentile(tpot, 0.99),
    }


def _judged(records: Sequence[RequestRecord]) -> dict[str, Any]:
    """The last requests, each in one place: answered and timed, answered without a first token to time, failed.

    An SLO's attainment is the share of `latencies` and `failed` together that met it. What the client spoilt is left
    out. A stream that broke off is failed, however soon its first token came.
    """
    judged = [record for record in records if record.answered or record.outcome in FAILED][-LISTED_REQUESTS:]
    answered = [record for record in judged if record.answered]
    timed = [[record.ttft_s, record.tpot_s] for record in answered if record.ttft_s is not None]
    return {"latencies": timed, "untimed": len(answered) - len(timed), "failed": len(judged) - len(answered)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
