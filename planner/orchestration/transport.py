# mypy: disable-error-code="attr-defined,no-untyped-call"
"""Which prefill replica hands how much of the traffic to which decode replica: a two-stage transportation problem.

Requests go through a pair, prefilled at i and decoded at j, or are served whole by one replica. Serving one request/s
takes a part of a replica's time: `prefill_use[i, j]` of i, more where the hop of the pair is slow; `decode_use[j]` or
`local_use[j]` of j. Without these capacity rows all traffic would go through the single best pair.
"""

from typing import Any

import cvxpy as cp
import numpy as np

from planner.errors import SolverFailed
from planner.orchestration.flow import HOP_WEIGHT, Flow, Transport, possible_pairs


def most_flow(transport: Transport) -> Flow:
    """The most requests/s that the replicas, wires and transfer budget carry."""
    pairs, local, limits = _model(transport, prefill_busy=1.0, decode_busy=1.0)
    return _solved(cp.Maximize(cp.sum(pairs) + cp.sum(local)), limits, pairs, local)


def balanced_flow(transport: Transport, demand_rps: float) -> Flow:
    """`demand_rps`, which must be within the most, such that the busiest replicas of both phases are least busy."""
    prefill_busy, decode_busy = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
    pairs, local, limits = _model(transport, prefill_busy, decode_busy)
    served = cp.sum(pairs) + cp.sum(local) == demand_rps
    hops = cp.sum(cp.multiply(np.where(possible_pairs(transport), transport.hop_s, 0.0), pairs))
    goal = cp.Minimize(prefill_busy + decode_busy + HOP_WEIGHT * hops / max(demand_rps, 1e-9))
    return _solved(goal, [*limits, served, prefill_busy <= 1, decode_busy <= 1], pairs, local)


def _model(transport: Transport, prefill_busy: Any, decode_busy: Any) -> tuple[Any, Any, list[Any]]:
    """The flows and their limits, each replica busy at most the given part of its time."""
    possible, alone = possible_pairs(transport), np.isfinite(transport.local_use)
    pairs = cp.Variable(possible.shape, nonneg=True)
    local = cp.Variable(alone.shape, nonneg=True)
    prefill_use = np.where(possible, transport.prefill_use, 0.0)
    local_use = np.where(alone, transport.local_use, 0.0)
    decode_use = np.where(np.isfinite(transport.decode_use), transport.decode_use, 0.0)
    decoding = cp.multiply(decode_use, cp.sum(pairs, axis=0)) + cp.multiply(local_use, local)
    limits = [
        cp.sum(cp.multiply(prefill_use, pairs), axis=1) <= prefill_busy,
        decoding <= decode_busy,
        cp.sum(cp.multiply(transport.usd_per_hour, pairs)) <= transport.budget_usd_per_hour,
        local[~alone] == 0,
        pairs[~possible] == 0,
    ]
    if len(transport.wire_gbit):
        wires = transport.wire_gbit.reshape(len(transport.wire_gbit), -1)
        limits.append(wires @ cp.vec(pairs, order="C") <= transport.wire_gbit_per_s)
    return pairs, local, limits


def _solved(goal: Any, limits: list[Any], pairs: Any, local: Any) -> Flow:
    problem = cp.Problem(goal, limits)
    problem.solve(solver=cp.HIGHS)
    if problem.status != cp.OPTIMAL:
        raise SolverFailed(f"Orchestration ended with {problem.status}; expected an optimum, as no flow is feasible.")
    return Flow(np.maximum(pairs.value, 0.0), np.maximum(local.value, 0.0))
