"""A plan as a document is all that is needed to simulate it: requests in, what clients and replicas would see out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.costmodel.transfer import kv_wire_bytes
from planner.demand import Floats, Ints
from planner.deployment import Phase, Plan
from planner.errors import SpecError
from planner.evaluate import Measures, measure, outcomes
from planner.lanes import Path, lanes_of, server_of
from planner.links import Links
from planner.members import members_of
from planner.orchestration.strands import planned_hop
from planner.router import waited_s
from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Failure, Requests, Timings
from planner.traces import Trace
from planner.workload import Slo


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened during a run, in a few words."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What a simulated run of a plan shows. `rejected` requests were longer than the plan admits: they are not run, and
    in none of the measures.

    `replicas` are the servers of `timings` by number, with their phases in the first plan and the tokens that their KV
    holds; `numbers` tell which of the requests given `requests` are.
    """

    measures: Measures
    rejected: int
    kv_bytes: float
    replicas: tuple[str, ...]
    phases: tuple[Phase, ...]
    kv_tokens: tuple[int, ...]
    numbers: Ints
    requests: Requests
    timings: Timings
    marks: tuple[Mark, ...]

    @property
    def busy_share(self) -> dict[str, float]:
        """Of the run, by replica."""
        return dict(zip(self.replicas, self.timings.busy_share, strict=True))

    @property
    def lost(self) -> int:
        """Requests that no replica was left to serve, or that its KV could not hold."""
        return self.measures.requests - self.measures.completed

    @property
    def preemptions(self) -> int:
        return int(self.timings.preemptions.sum())

    @property
    def arrival_rate_rps(self) -> float:
        """Requests/s over the span of the arrivals; 0 where there is none."""
        span_s = arrivals_span_s(self.requests)
        return len(self.requests.arrival_s) / span_s if span_s else 0.0


def replay(
    plan: Plan,
    requests: Requests,
    *,
    slo: Slo | None = None,
    links: Links | None = None,
    later: Sequence[tuple[float, Plan]] = (),
    failures: Sequence[tuple[float, str]] = (),
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Replay:
    """Play the requests against the plan. The targets are the plan's own unless others are given.

    `later` plans, of the same replicas, put their phases and routes in force at a time; `failures` end replicas.
    """
    for _, other in later:
        _check_same_replicas(plan, other)
    _check_fail_once([name for _, name in failures])
    fits = requests.prompt + requests.output <= plan.max_model_len
    admitted = _only(requests, fits)
    members = members_of(plan, links or {})
    places = {member.replica.id: i for i, member in enumerate(members)}
    plans = [plan, *(other for _, other in sorted(later, key=lambda one: one[0]))]
    starts = [0.0, *sorted(at_s for at_s, _ in later)]
    timings = simulate(
        admitted,
        [server_of(member) for member in members],
        [
            Epoch(at_s, lanes_of(plan.llm, _paths(one, links or {}), places))
            for at_s, one in zip(starts, plans, strict=True)
        ],
        [Failure(_place(places, name), at_s) for at_s, name in failures],
        seed=seed,
        progress=progress,
    )
    marks = [Mark(at_s, f"epoch {number}") for number, at_s in enumerate(starts[1:], 2)]
    marks += [Mark(at_s, f"{name} fails") for at_s, name in failures]
    duration = max(timings.end_s - float(np.min(admitted.arrival_s, initial=np.inf)), 0.0)
    return Replay(
        measures=measure(outcomes(admitted, timings), slo or plan.slo, duration, arrivals_span_s(admitted)),
        rejected=int((~fits).sum()),
        kv_bytes=_kv_bytes(plans, timings, admitted.prompt, places),
        replicas=tuple(places),
        phases=tuple(member.phase for member in members),
        kv_tokens=tuple(member.layout.kv_tokens for member in members),
        numbers=np.flatnonzero(fits),
        requests=admitted,
        timings=timings,
        marks=tuple(sorted(marks, key=lambda mark: mark.at_s)),
    )


def requests_of(trace: Trace) -> Requests:
    """A trace's requests, at the times it has them."""
    return Requests(trace.arrival_s, trace.prompt_tokens.astype(np.float64), trace.output_tokens.astype(np.float64))


def arrivals_span_s(requests: Requests) -> float | None:
    """As long as so many arrivals take at their rate, which is one less ÷ the time between the first and the last.

    None where they all come at once, so that there is no rate.
    """
    count = len(requests.arrival_s)
    between = float(np.ptp(requests.arrival_s)) if count else 0.0
    return between * count / (count - 1) if between > 0 else None


def with_prefix_hits(requests: Requests, share: float) -> Requests:
    """The same requests, of each of whose prompts this share is found in the prefix cache, in whole tokens."""
    return replace(requests, cached=np.floor(requests.prompt * share))


def _only(requests: Requests, these: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Requests:
    cached = None if requests.cached is None else requests.cached[these]
    return Requests(requests.arrival_s[these], requests.prompt[these], requests.output[these], cached)


def _check_same_replicas(plan: Plan, other: Plan) -> None:
    """Phases and routes may change while engines run; what they run on may not."""
    if plan.llm != other.llm:
        raise SpecError(f"The plans serve {plan.llm.name} and {other.llm.name}; expected the same model.")
    for one, then in ((plan, other), (other, plan)):
        stages = {replica.id: replica.stages for replica in then.replicas}
        for replica in one.replicas:
            if stages.get(replica.id) != replica.stages:
                raise SpecError(
                    f"Replica {replica.id} is not the same in plans {plan.plan_id} and {other.plan_id}; "
                    "expected the same replicas on the same GPUs.",
                    hint="A later plan may change phases and routes: `thunderctl rebalance` makes such plans.",
                )


def _check_fail_once(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                f"Replica {name} fails {names.count(name)} times; expected once.",
                hint="A replica that failed stays down for the rest of the run.",
            )


def _place(places: dict[str, int], name: str) -> int:
    if name not in places:
        raise SpecError(f"There is no replica {name!r} to fail; the plan has {', '.join(places)}.")
    return places[name]


def _paths(plan: Plan, links: Links) -> list[Path]:
    members = {member.replica.id: member for member in members_of(plan, links)}
    ends = [(members[route.prefill], members[route.decode]) for route in plan.routes]
    return [
        Path(route, planned_hop(route, *two, links), waited_s(*two))
        for route, two in zip(plan.routes, ends, strict=True)
    ]


def _kv_bytes(plans: Sequence[Plan], timings: Timings, prompt: Floats, places: dict[str, int]) -> float:
    """On the wires: the prompts of each route that were decoded elsewhere than prefilled."""
    total = 0.0
    for epoch, plan in enumerate(plans):
        for route in plan.routes:
            ends = places[route.prefill], places[route.decode]
            taken = (timings.epoch == epoch) & (timings.prefill == ends[0]) & (timings.decode == ends[1])
            total += float(np.sum(kv_wire_bytes(plan.llm, prompt[taken], route.codec)))
    return total
