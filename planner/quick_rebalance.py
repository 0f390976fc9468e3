"""What a rebalance promises under a workload that was observed: attainment of the routes in force, and of better ones.

Cheap enough to be asked every half minute: one simulated run for each, of the same requests, so that what differs is
the plans. `rebalance` confirms by long runs what is to be put in force.
"""

from dataclasses import replace

import numpy as np

from planner.demand import demand_of, longest_request
from planner.deployment import Codec, Plan, Route
from planner.evaluate import LEAST_TTFT, SETTLING, measure, outcomes, requests_at
from planner.links import Links, known_between
from planner.rebalance import search_over
from planner.rebalancing.flips import turned
from planner.replay import replay
from planner.workload import Workload

RUN_S, FEWEST, MOST = 240.0, 500, 5000
"""A run lasts so long, or for so many requests at least and at most: a backlog has time to show."""
MOST_LONGER = 25_000
"""Requests at most where a long TTFT target has it last longer, as a controller asks again and again."""


def attainment(plan: Plan, workload: Workload, *, links: Links | None = None, seed: int = 0) -> float:
    """The share of requests that the plan's routes would serve within its targets, at the workload's own rate.

    A route over one of the `links` is as wide as that, whatever it was planned with.
    Raises ValueError for a workload without a rate.
    """
    if workload.rate_rps is None:
        raise ValueError(f"Workload {workload.name} has no rate; expected requests/s to predict for.")
    demand = demand_of(workload, longest_request(plan.llm, plan.max_model_len))
    enough = float(np.clip(RUN_S, FEWEST / workload.rate_rps, MOST / workload.rate_rps))
    seconds = max(enough, min(LEAST_TTFT * plan.slo.ttft_s, MOST_LONGER / workload.rate_rps))
    requests = requests_at(workload.rate_rps, demand, seconds, seed=seed)
    played = replay(_as_wide_as(plan, links or {}), requests, links=links, seed=seed)
    found = outcomes(played.requests, played.timings, since_s=seconds * SETTLING)
    return measure(found, plan.slo, seconds * (1 - SETTLING)).slo_attainment


def _as_wide_as(plan: Plan, links: Links) -> Plan:
    replicas = {one.id: [plan.instance(name) for name in one.instances] for one in plan.replicas}

    def is_known(route: Route) -> bool:
        return any(known_between(a, b, links) for a in replicas[route.prefill] for b in replicas[route.decode])

    return replace(
        plan, routes=tuple(replace(one, bandwidth_gbit_per_s=0.0) if is_known(one) else one for one in plan.routes)
    )


def quick_rebalance(
    current: Plan, workload: Workload, *, codec: Codec | None = None, links: Links | None = None, seed: int = 0
) -> Plan | None:
    """The same replicas with the phases and routes that suit the workload best; None where none serves anything.

    It is `current` in all else: what it says of itself (predictions, notes, id) is still of that.
    """
    search = search_over(current, workload, codec=codec, links=links or {}, seed=seed)
    turn = turned(search, current)
    if turn is None:
        return None
    pairing = turn.after.pairing
    return replace(current, replicas=pairing.replicas, routes=pairing.routes)
