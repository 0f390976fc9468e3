"""Time stamps → TTFT, TPOT, attainment, goodput: the only scorer.

TTFT is from arrival to the first token, TPOT the mean time of the tokens after it, E2E from arrival to the last. Where
no token comes after the first, TPOT is 0: it meets any target, and is in no percentile (as in vLLM's own benchmark).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from planner.arrivals import arrival_times
from planner.demand import Demand, Floats
from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Lane, Requests, Server, Timings
from planner.workload import MOST_BURSTINESS, Slo

SETTLING = 0.2
"""First part of a run that is not scored: replicas start empty."""
RUN_S, FEWEST, MOST = 60.0, 500, 5000
"""A short run lasts this long at the rate tried, or for so many requests at least and at most."""
LEAST_TTFT = 3.0
"""Times the TTFT target that it lasts at least, if it goes well: whatever comes within one may be answered in time."""
LONGER = 8.0
"""Times as long is a run that went well and was too short, until it is long enough. One that went ill gets no longer,
so that a rate far beyond what a fleet serves costs no more than to see that."""
MOST_LONGER = 100_000
"""Requests of the parts simulated at most, where a long TTFT target alone would have a run be longer."""


@dataclass(frozen=True, slots=True)
class Part:
    """Replicas that exchange requests with each other and no others: one of `copies` alike, each with this `share`."""

    servers: tuple[Server, ...]
    lanes: tuple[Lane, ...]
    share: float = 1.0
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One entry a request: seconds to the first token, per later token, to the last; and its output tokens."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats
    output: Floats

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        return np.isfinite(self.e2e_s)


@dataclass(frozen=True, slots=True)
class Measures:
    """What clients would see. Percentiles in seconds, 0 where nothing ended; goodput is of a second of arrivals."""

    requests: int
    completed: int
    duration_s: float
    slo_attainment: float
    goodput_rps: float
    throughput_tokens_per_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    tpot_p50_s: float
    tpot_p90_s: float
    tpot_p99_s: float
    e2e_p50_s: float
    e2e_p99_s: float


def outcomes(requests: Requests, timings: Timings, *, since_s: float = 0.0) -> Outcomes:
    """Of the requests that arrive from `since_s` on."""
    scored = requests.arrival_s >= since_s
    arrival, output = requests.arrival_s[scored], requests.output[scored]
    first, last = timings.first_s[scored], timings.last_s[scored]
    with np.errstate(invalid="ignore"):
        tpot = np.where(output > 1, (last - first) / np.maximum(output - 1, 1), 0.0)
    return Outcomes(first - arrival, tpot, last - arrival, output)


def measure(found: Outcomes, slo: Slo, duration_s: float, arrivals_s: float | None = None) -> Measures:
    """Score a run of `duration_s`, of which requests arrived for `arrivals_s` (all of it unless given).

    `goodput_rps` is the requests that met the SLO ÷ `arrivals_s`: attainment x arrival rate, however long the last
    ones take to end. Throughput is of the whole duration.
    """
    done = found.done
    met = done & (found.ttft_s <= slo.ttft_s) & (found.tpot_s <= slo.tpot_s)
    return Measures(
        requests=len(done),
        completed=int(done.sum()),
        duration_s=duration_s,
        slo_attainment=float(met.mean()) if len(met) else 0.0,
        goodput_rps=_per_second(float(met.sum()), duration_s if arrivals_s is None else arrivals_s),
        throughput_tokens_per_s=_per_second(float(found.output[done].sum()), duration_s),
        **_percentiles("ttft", found.ttft_s[done], (50, 90, 99)),
        **_percentiles("tpot", found.tpot_s[done & (found.output > 1)], (50, 90, 99)),
        **_percentiles("e2e", found.e2e_s[done], (50, 99)),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """A fleet as it was simulated, once or more: of parts that are alike one, and how many of them there are."""

    seconds: float
    played: tuple[tuple[Requests, Timings, int], ...]
    times: int = 1

    def measured(self, slo: Slo, *, since: float) -> Measures:
        """Of the requests that arrive after this share of the seconds."""
        found = [
            _repeated(outcomes(requests, timings, since_s=self.seconds * since), copies)
            for requests, timings, copies in self.played
        ]
        return measure(_joined(found), slo, self.seconds * (1 - since) * self.times)

    def least_of_parts(self, slo: Slo, *, since: float) -> float:
        """The SLO attainment of the part that attains the least."""
        alone = (replace(self, played=(one,)) for one in self.played)
        return min(run.measured(slo, since=since).slo_attainment for run in alone)


def joined(runs: Sequence[Run]) -> Run:
    """Runs of the same length as one."""
    played = tuple(one for run in runs for one in run.played)
    return Run(runs[0].seconds, played, sum(run.times for run in runs))


def run_at(rate_rps: float, demand: Demand, parts: Sequence[Part], seconds: float, *, seed: int) -> Run:
    """Simulate a fleet for so many seconds of arrivals, however long the last requests take to end."""
    played = []
    for number, part in enumerate(parts):
        requests = requests_at(rate_rps * part.share, demand, seconds, share=part.share, seed=seed + number)
        timings = simulate(requests, part.servers, [Epoch(0.0, part.lanes)], seed=seed + number)
        played.append((requests, timings, part.copies))
    return Run(seconds, tuple(played))


def measured_at(rate_rps: float, demand: Demand, slo: Slo, parts: Sequence[Part], *, seed: int) -> Measures:
    """One short run of a fleet at a rate. It begins empty: a backlog that grows slowly does not show in it."""
    distinct_rps = rate_rps * sum(part.share for part in parts)
    seconds = float(np.clip(RUN_S, FEWEST / distinct_rps, MOST / distinct_rps))
    enough_s = min(LEAST_TTFT * slo.ttft_s, MOST_LONGER / distinct_rps)
    found = run_at(rate_rps, demand, parts, seconds, seed=seed).measured(slo, since=SETTLING)
    while seconds < enough_s and found.slo_attainment >= slo.attainment:
        seconds = min(LONGER * seconds, enough_s)
        found = run_at(rate_rps, demand, parts, seconds, seed=seed).measured(slo, since=SETTLING)
    return found


def requests_at(rate_rps: float, demand: Demand, seconds: float, *, share: float = 1.0, seed: int) -> Requests:
    """Arrivals at a rate; lengths are whole rounds of the demand in random order, so short runs stay representative.

    `share` is the part of all traffic that this is. The router deals requests out in rotation, so that of a part every
    1 / share-th is its own, and its arrivals are that much more even than all of them: sums of so many Gamma intervals.
    """
    random = np.random.default_rng(seed)
    count = max(1, round(rate_rps * seconds))
    rounds = -(-count // len(demand.prompt))
    order = np.concatenate([random.permutation(len(demand.prompt)) for _ in range(rounds)])[:count]
    evenness = min(demand.burstiness / share, MOST_BURSTINESS)
    arrival = arrival_times(count, rate_rps, burstiness=evenness, random=random)
    return Requests(arrival, demand.prompt[order], demand.output[order], demand.cached[order])


def _repeated(found: Outcomes, copies: int) -> Outcomes:
    return Outcomes(*(np.tile(values, copies) for values in (found.ttft_s, found.tpot_s, found.e2e_s, found.output)))


def _joined(found: Sequence[Outcomes]) -> Outcomes:
    columns = zip(*((one.ttft_s, one.tpot_s, one.e2e_s, one.output) for one in found), strict=True)
    return Outcomes(*(np.concatenate(column) for column in columns))


def _per_second(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0


def _percentiles(name: str, values: Floats, which: Sequence[int]) -> dict[str, float]:
    found = np.percentile(values, which) if len(values) else np.zeros(len(which))
    return {f"{name}_p{p}_s": float(value) for p, value in zip(which, found, strict=True)}
