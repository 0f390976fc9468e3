# mypy: disable-error-code="attr-defined,no-untyped-call,union-attr"
"""The mixed-integer program of procurement: its variables, its limits by kind, and its solution.

A group prefills, or decodes what others prefilled, or does both phases alone. Within an instance KV moves for nothing;
beyond it, it takes the instance's bandwidth, money, and some of the prefill group's capacity. Requests prefilled in a
private network may be decoded anywhere in it, and in the world by any group. This leaves out which pairs carry what, so
it can only promise more than orchestration finds. Groups that span instances of a network take GPUs from its pools, in
parts where need be, and have their layers, and so their KV, on any instances of these: they too are promised more than
they can do.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import cvxpy as cp
import numpy as np

from planner.deployment import Phase
from planner.procurement.purchase import JOINT, SINGLE, Floats, Groups, Ints, Shop, Spans

NETWORK, WORLD = 0, 1
"""Columns of what leaves or enters an instance."""
PREFILL, DECODE, MIXED = range(len(Phase))
BRANCHING = {f"mip_heuristic_run_{name}": False for name in ("rins", "rens", "root_reduced_cost")}
"""For HiGHS where only its bound is wanted: its searches in smaller programs take most of its time."""


class Program:
    """The variables of the program, and its limits by kind."""

    def __init__(
        self, shop: Shop, prefill: Groups, decode: Groups, mixed: Groups, spans: Spans, *, whole: bool = True
    ) -> None:
        offers = len(shop.gpus)
        self.shop = shop
        self.prefill, self.decode, self.mixed = _padded(prefill), _padded(decode), _padded(mixed)
        self.copies = cp.Variable(offers, integer=whole)
        self.prefill_groups, self.decode_groups, self.mixed_groups = (
            cp.Variable(len(groups.gpus), integer=whole) for groups in (self.prefill, self.decode, self.mixed)
        )
        self.inside = cp.Variable(offers, nonneg=True)
        self.out, self.into = (cp.Variable((offers, 2), nonneg=True) for _ in range(2))
        self.spanning = _Spanning(shop, spans, whole=whole)
        self.served = cp.sum(self.inside) + cp.sum(self.into) + self.mixed.rps @ self.mixed_groups
        self.served += self.spanning.served
        self.all_out, self.all_into = self.out + self.spanning.out, self.into + self.spanning.into
        sent = shop.out_usd_per_hour @ self.all_out[:, WORLD] + shop.in_usd_per_hour @ self.all_into[:, WORLD]
        self.usd = shop.usd_per_hour @ self.copies + sent

    @property
    def instances(self) -> Any:
        return cp.sum(self.copies)

    @property
    def lost(self) -> Any:
        """Requests/s expected to be lost while interruptible copies are taken back, groups that span left out.

        All that a mixed group serves then; of what a pair serves, half with either of its ends, so that (1 - a) r is
        lost of r requests/s where both are up for a part `a` of the time: other pairs take over what can be paired.
        """
        down, mixed = 1 - self.shop.availability, self.mixed
        ends = 2 * self.inside + cp.sum(self.out, axis=1) + cp.sum(self.into, axis=1)
        return down @ ends / 2 + (down[mixed.offer] * mixed.rps) @ self.mixed_groups

    def solve(self, goal: Any, limits: list[Any], *, gap: float, seconds: float, **wanted: object) -> float:
        """Minimise; HiGHS's own bound on the minimum, from below: minus infinity where it has none yet."""
        problem = cp.Problem(cp.Minimize(goal), limits)
        options = {"time_limit": seconds, "mip_rel_gap": gap, **wanted}
        with warnings.catch_warnings(action="ignore"):  # that the time limit ended it; the bound says how close
            problem.solve(solver=cp.HIGHS, **options)
            bound = float(problem.solver_stats.extra_stats.mip_dual_bound)
        return bound if np.isfinite(bound) else -np.inf

    def solve_in_parts(self, goal: Any, limits: list[Any]) -> float:
        """The minimum of a program that need not be `whole`; infinite where even so there is none.

        Not by `solve_relaxation`, of which HiGHS 1.15 makes less than the optimum in whole numbers.
        """
        problem = cp.Problem(cp.Minimize(goal), limits)
        problem.solve(solver=cp.HIGHS)
        return float(problem.value)

    def limits(self, budget_usd_per_hour: float, *, rent_all: bool) -> list[Any]:
        return [
            *self._leases(rent_all=rent_all),
            *self._capacities(),
            *self._transfers(),
            self.usd <= budget_usd_per_hour,
        ]

    def _leases(self, *, rent_all: bool) -> list[Any]:
        """Copies on offer, GPUs in them, and machines that several offers are of."""
        shop = self.shop
        least = shop.available if rent_all else np.zeros_like(shop.available)
        grouped = _by_offer(self.prefill, self.prefill.gpus, len(shop.gpus)) @ self.prefill_groups
        grouped += _by_offer(self.decode, self.decode.gpus, len(shop.gpus)) @ self.decode_groups
        grouped += _by_offer(self.mixed, self.mixed.gpus, len(shop.gpus)) @ self.mixed_groups
        idle = cp.multiply(shop.gpus, self.copies) - grouped
        rows = [
            *(self.copies >= least, self.copies <= shop.available),
            *(self.prefill_groups >= 0, self.decode_groups >= 0, self.mixed_groups >= 0),
            idle >= 0,
            *self.spanning.leases(idle),
        ]
        for machine in np.unique(shop.machine[shop.machine >= 0]):
            of = np.flatnonzero(shop.machine == machine)
            if len(of) > 1 and not rent_all:
                rows.append(shop.gpus[of] @ self.copies[of] <= int(shop.gpus[of].max()))
        return rows

    def _capacities(self) -> list[Any]:
        """Prompts that prefill groups take, and requests that decode groups take."""
        shop, prefill, decode = self.shop, self.prefill, self.decode
        reach = np.isfinite(shop.slower)
        taken = self.inside + cp.sum(cp.multiply(np.where(reach, shop.slower, 0.0), self.out), axis=1)
        return [
            taken + self.spanning.lent + self.spanning.lent_out
            <= _by_offer(prefill, prefill.rps, len(shop.gpus)) @ self.prefill_groups,
            self.inside + cp.sum(self.into, axis=1) + self.spanning.near
            <= _by_offer(decode, decode.rps, len(shop.gpus)) @ self.decode_groups,
            self.out[~reach] == 0,
            self.inside[~shop.holds_both] == 0,
            *self.spanning.capacities(),
        ]

    def _transfers(self) -> list[Any]:
        """What is prefilled somewhere is decoded somewhere, over bandwidth that is there."""
        shop, networks = self.shop, self.spanning.networks
        lent_out = self.spanning.lent_out
        rows = [
            cp.sum(self.all_out[:, WORLD]) == cp.sum(self.all_into[:, WORLD]),
            cp.sum(self.all_out, axis=1) + lent_out <= cp.multiply(shop.wire_rps[:, 0], self.copies),
            cp.sum(self.all_into, axis=1) <= cp.multiply(shop.wire_rps[:, 1], self.copies),
            self.out[shop.network < 0, NETWORK] == 0,
            self.into[shop.network < 0, NETWORK] == 0,
        ]
        if len(networks):
            rows.append(networks @ (self.all_out[:, NETWORK] + lent_out) == networks @ self.all_into[:, NETWORK])
        return rows


class _Spanning:
    """The part of the program that groups over several instances have.

    Their KV is where its layers are: all flows are counted at instances, by offer, in requests/s times the part of the
    layers. What stays on an instance is `near` where such a group prefills and one on that instance alone decodes,
    `lent` the reverse, and `joint` between two such groups. `out` leaves them and `into` enters them. What leaves a
    single group beside the layers that it lends, `lent_out`, takes less time than if all did, which counts as none.
    """

    def __init__(self, shop: Shop, spans: Spans, *, whole: bool) -> None:
        offers, pools = len(shop.gpus), spans.gpus.shape[1]
        self.spans, self.numbers = spans, np.unique(shop.network[shop.network >= 0])
        self.networks = _marked(shop.network, self.numbers)
        self.pools = _marked(spans.pool, range(pools))
        self.groups = cp.Variable(max(1, len(spans.network)), integer=whole)
        self.out, self.into = (cp.Variable((offers, 2), nonneg=True) for _ in range(2))
        self.near, self.lent, self.joint, self.lent_out = (cp.Variable(offers, nonneg=True) for _ in range(4))
        self.prefilled = self.near + self.joint + cp.sum(self.out, axis=1)
        self.decoded = self.lent + self.joint + cp.sum(self.into, axis=1)
        self.served = cp.sum(self.decoded) + cp.sum(self.near)
        if len(spans.network):
            self.served += np.where(spans.phase == MIXED, spans.rps, 0.0) @ self.groups

    def leases(self, idle: Any) -> list[Any]:
        """GPUs of each pool."""
        if not len(self.spans.network):
            flows = (self.out, self.into, self.near, self.lent, self.joint, self.lent_out)
            return [self.groups == 0, *(flow == 0 for flow in flows)]
        return [self.groups >= 0, self.spans.gpus.T @ self.groups <= self.pools @ idle]

    def capacities(self) -> list[Any]:
        """KV on each pool and in each network, by phase, and what of it stays on an instance."""
        spans = self.spans
        if not len(spans.network):
            return []
        flows = (self.near, self.lent, self.joint, self.out, self.into)
        slow = self.networks * ~spans.reach[:, NETWORK]
        return [
            *self._phase(PREFILL, self.prefilled, self.near),
            *self._phase(DECODE, self.decoded, self.lent),
            self.out[~spans.reach[:, WORLD], WORLD] == 0,
            slow @ self.out[:, NETWORK] <= spans.most_beside * (self.networks @ (self.near + self.joint)),
            self.lent_out <= spans.most_beside * self.lent,
            *(flow[spans.pool < 0] == 0 for flow in flows),
        ]

    def _phase(self, phase: int, done: Any, single: Any) -> list[Any]:
        spans = self.spans
        own = spans.phase == phase
        groups = self.groups[own]
        rps = [np.where(spans.network[own] == number, spans.rps[own], 0.0) for number in self.numbers]
        return [
            self.networks @ done <= np.array(rps) @ groups,
            self.pools @ done <= spans.held[own].T @ groups,
            self.pools @ single <= spans.stays[own][:, :, SINGLE].T @ groups,
            self.pools @ self.joint <= spans.stays[own][:, :, JOINT].T @ groups,
        ]


def _padded(groups: Groups) -> Groups:
    """At least one row, of a group that does nothing, so that every matrix has a column."""
    if len(groups.gpus):
        return groups
    return Groups(np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1))


def _marked(values: Ints, numbers: Iterable[int]) -> Floats:
    """A matrix with a row for each of the numbers, 1 where the value is that."""
    return np.array([values == number for number in numbers], dtype=np.float64).reshape(-1, len(values))


def _by_offer(groups: Groups, weight: Any, offers: int) -> Any:
    """A matrix that adds up a weight of groups for the offer they are on."""
    matrix = np.zeros((offers, len(groups.offer)))
    matrix[groups.offer, np.arange(len(groups.offer))] = weight
    return matrix
