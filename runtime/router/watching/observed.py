"""What the router saw of the traffic over the last minutes: what a rebalance is decided on."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.router.watching.lengths import Answer, expected_lengths

WINDOW_S = 300.0
KEPT_REQUESTS = 20_000
LISTED_REQUESTS = 2_000
FAILED = frozenset({"unavailable", "failed", "interrupted", "shed", "late"})
"""Outcomes without success that are no fault of the client's: it did not go away, and its request was not refused."""


@dataclass(slots=True)
class RequestRecord:
    """One request from arrival to end. Times in seconds; None where it never came to that.

    `key` is the name of the client key it came with. `queued_s` is what it waited to be let in. `so_far` tells prompt
    and output tokens while it is under way.
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
    streamed: bool = False
    so_far: Callable[[], tuple[int | None, int]] | None = None

    @property
    def ended_at(self) -> float:
        """What never got as far as a replica ended as it arrived."""
        return self.arrived_at + (self.e2e_s or 0.0)

    @property
    def answered(self) -> bool:
        """To the end, or until the client had enough."""
        return self.outcome == "ok" or (self.outcome == "cancelled" and self.ttft_s is not None)


class Observed:
    """A sliding window of finished requests, by their ends: one that took longer than the window counts too.

    Those under way are looked at whenever they arrived.
    """

    def __init__(self, *, window_s: float = WINDOW_S, now: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._now = now
        self._since = now()
        self._records: deque[RequestRecord] = deque(maxlen=KEPT_REQUESTS)
        self._arrivals: deque[float] = deque(maxlen=KEPT_REQUESTS)
        self._under_way: dict[int, RequestRecord] = {}

    def arrived(self, record: RequestRecord) -> None:
        self._arrivals.append(record.arrived_at)
        self._under_way[id(record)] = record

    def finished(self, record: RequestRecord) -> None:
        self._under_way.pop(id(record), None)
        self._records.append(record)

    def summary(self, window_s: float | None = None) -> dict[str, Any]:
        """The window as one JSON object: rates, means, percentiles, and the raw pairs they come from.

        `window_s` asks for the last part of it.
        """
        now = self._now()
        asked_s = self._window_s if window_s is None else min(window_s, self._window_s)
        while self._arrivals and self._arrivals[0] < now - self._window_s:
            self._arrivals.popleft()
        arrivals, under_way = sum(at >= now - asked_s for at in self._arrivals), list(self._under_way.values())
        records = [record for record in self._records if record.ended_at >= now - asked_s]
        seconds = max(min(asked_s, now - self._since), 1e-9)
        if arrivals == KEPT_REQUESTS:
            seconds = max(now - self._arrivals[0], 1e-9)
        return {
            "window_s": seconds,
            "rate_rps": arrivals / seconds,
            "requests": dict(Counter(record.outcome for record in records)),
            **_lengths(records, under_way, now, since=self._known_since(now - asked_s)),
            **_latencies(records),
            **_judged(records),
            "ttft_so_far_s": [_ttft_so_far_s(record, now) for record in under_way if record.streamed][:LISTED_REQUESTS],
        }

    def _known_since(self, asked: float) -> float:
        """From when on all that ended is remembered, `asked` or later."""
        forgets = len(self._records) == KEPT_REQUESTS
        return max(asked, self._records[0].ended_at if forgets else self._since)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def _lengths(
    records: Sequence[RequestRecord], under_way: Sequence[RequestRecord], now: float, *, since: float
) -> dict[str, Any]:
    """Of what arrived, as far as it can be known (`lengths.py`); of very many, by some that are evenly apart."""
    step = math.ceil((len(records) + len(under_way)) / LISTED_REQUESTS) or 1
    told = [record for record in records[::step] if record.prompt_tokens is not None]
    pace_s = max((_pace_s(record) for record in told if record.outcome == "ok"), default=0.0)
    answers = [_ended(record, since) for record in told]
    answers += [_going_on(record, now, since, pace_s) for record in under_way[::step]]
    pairs = [list(pair) for pair in expected_lengths(answers)]
    return {
        "prompt_tokens_mean": _mean([prompt for prompt, _ in pairs]),
        "output_tokens_mean": _mean([output for _, output in pairs]),
        "lengths": pairs,
    }


def _ended(record: RequestRecord, since: float) -> Answer:
    """One that was given up before its end may have been going to be longer."""
    known = record.outcome == "ok" and record.output_tokens is not None
    output = max(record.output_tokens or 0, int(known))
    before = _before(record, output, record.ended_at, since)
    return Answer(record.prompt_tokens, output, before, ended=known, arrived=record.arrived_at >= since)


def _going_on(record: RequestRecord, now: float, since: float, pace_s: float) -> Answer:
    """One that is no stream has told nothing: it is taken to be as slow (s/token) as the slowest that ended."""
    prompt, output = record.so_far() if record.so_far is not None else (None, 0)
    if prompt is not None and not record.streamed and pace_s:
        output = int((now - record.arrived_at) / pace_s)
    before = _before(record, output, now, since)
    return Answer(prompt, output, before, ended=False, arrived=record.arrived_at >= since)


def _pace_s(record: RequestRecord) -> float:
    """Seconds per output token, of all the time it took."""
    return (record.e2e_s or 0.0) / max(record.output_tokens or 0, 1)


def _before(record: RequestRecord, output: int, until: float, since: float) -> int:
    """Tokens that it had at `since`, of `output` by `until`: evenly, from the first on where that was timed."""
    first = record.arrived_at + (record.ttft_s or 0.0)
    return int(output * (since - first) / (until - first)) if first < since < until else 0


def _ttft_so_far_s(record: RequestRecord, now: float) -> float:
    return now - record.arrived_at if record.ttft_s is None else record.ttft_s


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
    out. A stream that broke off is failed, however soon its first token came. What is under way is in neither, but has
    missed the target already where `ttft_so_far_s` (the wait for its first token, be it over or not) is beyond it.
    """
    judged = [record for record in records if record.answered or record.outcome in FAILED][-LISTED_REQUESTS:]
    answered = [record for record in judged if record.answered]
    timed = [[record.ttft_s, record.tpot_s] for record in answered if record.ttft_s is not None]
    return {"latencies": timed, "untimed": len(answered) - len(timed), "failed": len(judged) - len(answered)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
