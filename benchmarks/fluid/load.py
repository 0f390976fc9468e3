"""What arrives, minute by minute: two services whose hours of trace are stretched over days by the time of day.

The shape of the days is made up (the traces have one hour each): conversation is busiest at 20:00 and never below 40 %
of that, coding at 14:00 on weekdays, with a quarter left at night and at most 40 % at weekends. Minutes vary as those
of the traces do.
"""

from collections import Counter
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from statistics import fmean

import numpy as np

from planner.demand import Floats
from planner.traces import stratified, trace_from_csv, workload_named
from planner.workload import Workload

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"
HOUR_S, MINUTE_S = 3600.0, 60.0
WEEKEND = 2
"""The third day is a Saturday, as that of the price samples is."""
KEPT_PAIRS = 200
CODING, CONVERSATION = workload_named("coding"), workload_named("conversation")


@dataclass(frozen=True, slots=True)
class Load:
    """Requests/s of both services, a figure a minute."""

    coding_rps: Floats
    conversation_rps: Floats

    @property
    def minutes(self) -> int:
        return len(self.coding_rps)

    @property
    def rate_rps(self) -> Floats:
        return np.asarray(self.coding_rps + self.conversation_rps)

    @property
    def coding_share(self) -> Floats:
        return np.asarray(self.coding_rps / self.rate_rps)

    def scaled(self, times: float) -> "Load":
        return Load(self.coding_rps * times, self.conversation_rps * times)


def mixture(coding_share: float, rate_rps: float | None = None) -> Workload:
    """Requests of both services, of which this share is coding's."""
    coding = round(KEPT_PAIRS * coding_share)
    pairs = (*_some(CODING, coding), *_some(CONVERSATION, KEPT_PAIRS - coding))
    return Workload(f"{coding_share:.0%} coding", pairs, rate_rps)


def coding_in(workload: Workload) -> float:
    """The share of coding in a mixture, by the length of its prompts."""
    least, most = CONVERSATION.prompt_tokens_mean, CODING.prompt_tokens_mean
    return min(max((workload.prompt_tokens_mean - least) / (most - least), 0.0), 1.0)


def days(hours: float) -> Load:
    """Both services at a mean of 1 request/s at their busiest, from midnight on."""
    minutes = round(hours * HOUR_S / MINUTE_S)
    hour = np.arange(minutes) * MINUTE_S / HOUR_S
    return Load(
        0.6 * np.array([_coding(at) for at in hour]) * _tiled(_jitter("azure_code_2023.csv"), minutes),
        np.array([_conversation(at) for at in hour]) * _tiled(_jitter("azure_conv_2023.csv"), minutes),
    )


def _conversation(hour: float) -> float:
    return 0.7 + 0.3 * cos((hour - 20) / 24 * 2 * pi)


def _coding(hour: float) -> float:
    day, at = divmod(hour, 24)
    most = 0.4 if day % 7 == WEEKEND else 1.0
    return max(0.25, most * cos((at - 14) / 24 * 2 * pi))


def _jitter(name: str) -> list[float]:
    """Each whole minute of a trace, by its mean minute."""
    trace = trace_from_csv((TRACES / name).read_text(encoding="utf-8"), name)
    counts = Counter((trace.arrival_s // MINUTE_S).astype(int).tolist())
    whole = [counts[minute] for minute in range(max(counts))]
    return [count / fmean(whole) for count in whole]


def _tiled(values: list[float], count: int) -> Floats:
    return np.resize(np.array(values), count)


def _some(workload: Workload, count: int) -> tuple[tuple[int, int], ...]:
    return stratified(workload.lengths, count) if count else ()
