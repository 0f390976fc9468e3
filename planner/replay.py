"""A plan as a document is all that is needed to simulate it: requests in, what clients and replicas would see out."""

from dataclasses import dataclass

import numpy as np

from planner.catalog import Link
from planner.demand import Floats
from planner.deployment import Plan, Route
from planner.evaluate import Measures, measure, outcomes
from planner.links import Links, link_between
from planner.members import members_of
from planner.perfmodel import kv_transfer_s, kv_wire_bytes
from planner.simulate import Lane, Requests, Server, simulate
from planner.traces import Trace
from planner.workload import Slo


@dataclass(frozen=True, slots=True)
class Replay:
    """What a simulated run of a plan shows. `rejected` requests were longer than the plan admits, and are not run."""

    measures: Measures
    rejected: int
    kv_bytes: float
    busy_share: dict[str, float]


def replay(plan: Plan, requests: Requests, *, slo: Slo | None = None, links: Links | None = None, seed: int) -> Replay:
    """Play the requests against the plan. The targets are the plan's own unless others are given."""
    fits = requests.prompt + requests.output <= plan.max_model_len
    admitted = Requests(requests.arrival_s[fits], requests.prompt[fits], requests.output[fits])
    members = members_of(plan)
    places = {member.replica.id: i for i, member in enumerate(members)}
    servers = [Server(member.layout.pace, member.layout.kv_tokens) for member in members]
    lanes = [_lane(plan, route, places, links or {}) for route in plan.routes]
    timings = simulate(admitted, servers, lanes, seed=seed)
    duration = max(float(np.max(timings.last_s, initial=0.0)) - float(np.min(admitted.arrival_s, initial=0.0)), 1e-9)
    return Replay(
        measures=measure(outcomes(admitted, timings), slo or plan.slo, duration),
        rejected=int((~fits).sum()),
        kv_bytes=_kv_bytes(plan, admitted.prompt),
        busy_share={member.replica.id: busy for member, busy in zip(members, timings.busy_share, strict=True)},
    )


def requests_of(trace: Trace) -> Requests:
    """A trace's requests, at the times it has them."""
    return Requests(trace.arrival_s, trace.prompt_tokens.astype(np.float64), trace.output_tokens.astype(np.float64))


def _lane(plan: Plan, route: Route, places: dict[str, int], links: Links) -> Lane:
    ends = places[route.prefill], places[route.decode]
    if route.prefill == route.decode:
        return Lane(*ends, route.share)
    link = _link(plan, route, links)
    fixed = float(kv_transfer_s(link, 0.0, plan.llm, route.codec))
    return Lane(*ends, route.share, fixed, float(kv_transfer_s(link, 1.0, plan.llm, route.codec)) - fixed)


def _link(plan: Plan, route: Route, links: Links) -> Link:
    """The link between the replicas' instances, with the bandwidth that the route states."""
    first, last = (plan.instance(plan.replica(name).instances[0]) for name in (route.prefill, route.decode))
    link = link_between(first, last, links)
    return Link(route.bandwidth_gbit_per_s or link.bandwidth_gbit_per_s, link.latency_ms, link.usd_per_gb)


def _kv_bytes(plan: Plan, prompt: Floats) -> float:
    """On the wires, each route carrying its share of the prompts."""
    carried = (route.share * np.sum(kv_wire_bytes(plan.llm, prompt, route.codec)) for route in plan.routes)
    return float(sum(carried))
