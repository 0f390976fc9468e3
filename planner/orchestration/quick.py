"""The most flow of a transportation problem, quickly: what the search asks for every way to use its GPUs.

Where every pair is possible and its hop takes nothing more of its ends than any other, and neither wires nor money
bind, the replicas of both phases share the load in proportion to what they can. That serves the smaller of both sums,
which no flow beats. Else it is a linear program, given to HiGHS as arrays. `transport.py` states the same problem in
words, and is the oracle of both.
"""

import numpy as np

from planner.demand import Floats, Ints
from planner.orchestration.flow import Flow, Transport, possible_pairs
from planner.orchestration.program import solved, solver_of

SAME = 1e-12
"""Relative difference up to which uses count as equal."""


def most_flow(transport: Transport) -> Flow:
    """The most requests/s that the replicas, wires and transfer budget carry."""
    return _in_proportion(transport) or _by_highs(transport)


def _in_proportion(transport: Transport) -> Flow | None:
    """The flow that uses every replica of a phase alike; None where it is not possible, or might not be the most."""
    serving, alone = np.isfinite(transport.decode_use), np.isfinite(transport.local_use)
    use = transport.prefill_use[:, serving]
    free = use.min(axis=1, initial=np.inf)
    if (alone & serving).any() or not _all_alike(use, free) or (transport.decode_use <= 0).any():
        return None
    prefill, decode, local = 1 / free, 1 / transport.decode_use, 1 / transport.local_use
    served = min(prefill.sum(), decode.sum())
    pairs = np.outer(prefill, decode) * (served / (prefill.sum() * decode.sum()) if served else 0.0)
    loads = (transport.wire_gbit * pairs).sum(axis=(1, 2))
    usd = (transport.usd_per_hour * pairs).sum()
    carried = (loads <= transport.wire_gbit_per_s).all() and usd <= transport.budget_usd_per_hour
    return Flow(pairs, local) if carried else None


def _all_alike(use: Floats, least: Floats) -> bool:
    """Whether each prefill replica is used by all pairs as by the cheapest one, and a bit by any."""
    possible = np.isfinite(least) & (least > 0)
    return bool(possible.all() and (use <= least[:, None] * (1 + SAME)).all())


def _by_highs(transport: Transport) -> Flow:
    """Its columns are the possible pairs, then the replicas that can serve alone."""
    sources, targets = np.nonzero(possible_pairs(transport))
    alone = np.flatnonzero(np.isfinite(transport.local_use))
    pairs, local = np.zeros(transport.prefill_use.shape), np.zeros(transport.local_use.shape)
    if not len(sources) + len(alone):
        return Flow(pairs, local)
    rows, most = _rows(transport, sources, targets, alone)
    found = solved(solver_of(rows, most, np.ones(len(sources) + len(alone))))
    flow = np.maximum(np.array(found.col_value, dtype=np.float64), 0.0)
    pairs[sources, targets] = flow[: len(sources)]
    local[alone] = flow[len(sources) :]
    return Flow(pairs, local)


def _rows(transport: Transport, sources: Ints, targets: Ints, alone: Ints) -> tuple[Floats, Floats]:
    """The limits as a matrix and its right-hand side: each replica's time, each wire, and the money."""
    prefilling, serving = transport.prefill_use.shape
    wires, count = len(transport.wire_gbit), len(sources)
    columns = np.arange(count)
    rows = np.zeros((prefilling + serving + wires + 1, count + len(alone)))
    rows[sources, columns] = transport.prefill_use[sources, targets]
    rows[prefilling + targets, columns] = transport.decode_use[targets]
    rows[prefilling + alone, count + np.arange(len(alone))] = transport.local_use[alone]
    rows[prefilling + serving : -1, :count] = transport.wire_gbit[:, sources, targets]
    rows[-1, :count] = transport.usd_per_hour[sources, targets]
    busy = np.ones(prefilling + serving)
    return rows, np.concatenate([busy, transport.wire_gbit_per_s, [transport.budget_usd_per_hour]])
