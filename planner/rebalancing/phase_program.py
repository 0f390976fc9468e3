"""How much running replicas serve under a designation, and what that says of all others: Benders' cuts.

One linear program holds every replica in all three phases, each with a share of its time; a designation fixes these
shares at 0 and 1. What is served is concave in the shares, so the prices of time under one designation bound every
other: served(x') <= served(x) + prices (x' - x). The program is kept, so that the next one starts from the last basis.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from planner.demand import Floats, Ints
from planner.deployment import Phase
from planner.orchestration.flow import Transport
from planner.orchestration.pairing import FULL
from planner.orchestration.program import solved, solver_of

PHASES = (Phase.PREFILL, Phase.DECODE, Phase.MIXED)
Bools = npt.NDArray[np.bool_]
NUDGE = 1e-5
"""Part of their time that replicas are lent to every phase alike. Prices of phases that nobody is in would be anything
above some least value, and are that value so; what is served changes by no more than this part."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Served, requests/s, at some shares of time, and the price of each replica's (columns) time in each of PHASES.

    `phases` is the designation that it was found at, by replica; None where time was divided freely. `wires_full` says
    that a wire which it uses is.
    """

    served_rps: float
    at_none_rps: float
    prices: Floats
    phases: Ints | None
    wires_full: bool

    def bound_rps(self, designations: Ints) -> Floats:
        """What each designation (a row of indices into PHASES) serves at most."""
        replicas = np.arange(self.prices.shape[1])
        return np.asarray(self.at_none_rps + self.prices[designations, replicas].sum(axis=-1))


class PhaseProgram:
    """The program over one set of replicas. `transport` has all of them on both sides; `mixed_rps` is theirs alone."""

    def __init__(self, transport: Transport, mixed_rps: Floats) -> None:
        self.replicas = len(mixed_rps)
        self._mixed_rps = mixed_rps
        self._rows = _rows(transport, self.replicas)
        self._first_share = self._rows.matrix.shape[1] - len(PHASES) * self.replicas
        self._shares = np.arange(self._first_share, self._rows.matrix.shape[1], dtype=np.int32)
        gain = np.concatenate([np.ones(self._first_share), np.zeros(2 * self.replicas), mixed_rps])
        self._solver = solver_of(self._rows.matrix, self._rows.above, gain)

    def relaxed(self) -> Cut:
        """Every replica divides its time as it likes: no designation serves more."""
        size = len(self._shares)
        self._solver.changeColsBounds(size, self._shares, np.zeros(size), np.ones(size))
        return self._cut(None)

    def at(self, designation: Ints) -> Cut:
        """Under a designation: indices into PHASES, by replica."""
        shares = (1 - NUDGE) * np.eye(len(PHASES))[:, designation] + NUDGE / len(PHASES)
        self._solver.changeColsBounds(shares.size, self._shares, shares.ravel(), shares.ravel())
        return self._cut(designation)

    def _cut(self, designation: Ints | None) -> Cut:
        solution, rows = solved(self._solver), self._rows
        dual = np.abs(np.array(solution.row_dual))
        prices = np.vstack([np.zeros((2, self.replicas)), self._mixed_rps])
        np.add.at(prices, (rows.phase, rows.replica), dual[: len(rows.phase)])
        shares = np.array(solution.col_value)[self._first_share :].reshape(prices.shape)
        at_none = self._solver.getObjectiveValue() - float((prices * shares).sum())
        if designation is None:
            return Cut(at_none + float((prices * shares).sum()), at_none, prices, None, wires_full=False)
        served = at_none + float((prices * np.eye(len(PHASES))[:, designation]).sum())
        of_wire = rows.of_wire & np.append(designation[rows.replica] == rows.phase, rows.of_wire[len(rows.phase) :])
        left = rows.above - np.array(solution.row_value)
        return Cut(served, at_none, prices, designation, bool((left[of_wire] <= 1 - FULL).any()))


@dataclass(frozen=True, slots=True)
class _Rows:
    """matrix @ columns <= above. Columns: pairs, replicas that decode and prefill for themselves, shares of time by
    phase.

    The first rows each limit what a `replica` does in a `phase` by its share of time there. Then come what the shares
    sum to, wires and money. `of_wire` marks the rows of wires, as parts of what these carry.
    """

    matrix: Floats
    above: Floats
    phase: Ints
    replica: Ints
    of_wire: Bools


def _rows(transport: Transport, count: int) -> _Rows:
    use = np.where(np.eye(count, dtype=bool), np.inf, transport.prefill_use)
    ends = np.argwhere(np.isfinite(use) & np.isfinite(transport.decode_use)[None, :])
    alone = np.flatnonzero(np.isfinite(transport.local_use))
    pairs, first, replicas = len(ends), len(ends) + len(alone), np.arange(count)
    busy = np.zeros((2 * count, first))
    busy[ends[:, 0], np.arange(pairs)] = use[ends[:, 0], ends[:, 1]]
    busy[count + ends[:, 1], np.arange(pairs)] = transport.decode_use[ends[:, 1]]
    busy[count + alone, pairs + np.arange(len(alone))] = transport.local_use[alone]
    full = np.pad(transport.wire_gbit[:, ends[:, 0], ends[:, 1]], ((0, 0), (0, len(alone))))
    full /= transport.wire_gbit_per_s[:, None]
    own, owner, shared = _own_wires(full, ends)
    usd = np.pad(transport.usd_per_hour[ends[:, 0], ends[:, 1]], (0, len(alone)))
    phase = np.concatenate([np.repeat([0, 1], count), owner[:, 0]])
    replica = np.concatenate([replicas, replicas, owner[:, 1]])
    flows = np.vstack([busy, own, np.zeros((count, first)), shared, usd[None]])
    shares = np.zeros((len(flows), len(PHASES) * count))
    shares[np.arange(len(phase)), phase * count + replica] = -1.0
    shares[len(phase) : len(phase) + count] = np.tile(np.eye(count), len(PHASES))
    above = np.concatenate([np.zeros(len(phase)), np.ones(count + len(shared)), [transport.budget_usd_per_hour]])
    of_wire = np.repeat([False, True, False, True, False], [2 * count, len(own), count, len(shared), 1])
    return _Rows(np.hstack([flows, shares]), above, phase, replica, of_wire)


def _own_wires(full: Floats, ends: Ints) -> tuple[Floats, Ints, Floats]:
    """What one replica puts on a wire, rows of their own; the (phase, replica) of each; and wires that several share.

    A replica that is in a phase for part of its time fills a wire for that part at most. That follows where it is in
    one phase only, so it costs nothing, and it makes the prices of those that are not in the phase far better.
    """
    own, shared = [np.zeros((0, full.shape[1]))], []
    owner: list[tuple[int, int]] = []
    for number, wire in enumerate(full):
        used = np.flatnonzero(wire)
        sides = [np.unique(ends[used, side]) for side in (0, 1)]
        side = int(len(sides[1]) < len(sides[0]))
        theirs = ends[used, side] == sides[side][:, None]
        rows = np.zeros((len(theirs), len(wire)))
        rows[:, used] = theirs * wire[used]
        own.append(rows)
        owner += [(side, replica) for replica in sides[side].tolist()]
        if len(theirs) > 1:
            shared.append(number)
    return np.vstack(own), np.array(owner, dtype=np.int64).reshape(-1, 2), full[shared]
