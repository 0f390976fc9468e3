"""A given flow, spread evenly, quickly: `transport.balanced_flow` states the same in words, and is its oracle."""

import numpy as np

from planner.orchestration.flow import HOP_WEIGHT, Flow, Transport, possible_pairs
from planner.orchestration.program import solved, solver_of


def balanced_flow(transport: Transport, demand_rps: float) -> Flow:
    """`demand_rps`, which must be within the most, such that the busiest replicas of both phases are least busy.

    Columns: possible pairs, replicas that serve alone, and how busy the busiest of either side may be: all of its time
    at most, else what prefill is spared would be decode's to do beyond what it can.
    """
    sources, targets = np.nonzero(possible_pairs(transport))
    alone = np.flatnonzero(np.isfinite(transport.local_use))
    prefilling, serving = transport.prefill_use.shape
    pairs, flows, wires = len(sources), len(sources) + len(alone), len(transport.wire_gbit_per_s)
    each, height = np.arange(pairs), prefilling + serving
    matrix = np.zeros((height + wires + 4, flows + 2))
    matrix[sources, each] = transport.prefill_use[sources, targets]
    matrix[prefilling + targets, each] = transport.decode_use[targets]
    matrix[prefilling + alone, pairs + np.arange(len(alone))] = transport.local_use[alone]
    matrix[:prefilling, flows] = matrix[prefilling:height, flows + 1] = -1.0
    matrix[height : height + wires, :pairs] = transport.wire_gbit[:, sources, targets]
    matrix[-4, flows] = matrix[-3, flows + 1] = 1.0
    matrix[-2, :pairs] = transport.usd_per_hour[sources, targets]
    matrix[-1, :flows] = -1.0
    above = np.concatenate(
        [np.zeros(height), transport.wire_gbit_per_s, [1.0, 1.0, transport.budget_usd_per_hour, -demand_rps]]
    )
    hops = HOP_WEIGHT / max(demand_rps, 1e-9) * transport.hop_s[sources, targets]
    gain = np.concatenate([-hops, np.zeros(len(alone)), [-1.0, -1.0]])
    found = np.maximum(np.array(solved(solver_of(matrix, above, gain)).col_value, dtype=np.float64), 0.0)
    paired, local = np.zeros(transport.prefill_use.shape), np.zeros(transport.local_use.shape)
    paired[sources, targets], local[alone] = found[:pairs], found[pairs:flows]
    return Flow(paired, local)
