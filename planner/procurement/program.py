# mypy: disable-error-code="attr-defined,no-untyped-call,union-attr"
"""The mixed-integer program of procurement: its variables, its limits by kind, and its solution.

A group prefills, or decodes what others prefilled, or does both phases alone. Within an instance KV moves for nothing;
beyond it, it takes the instance's bandwidth, money, and some of the prefill group's capacity. Requests prefilled in a
private network may be decoded anywhere in it, and in the world by any group. This leaves out which pairs carry what, so
it can only promise more than orchestration finds. Groups that span instances of a network take GPUs from its pools, in
parts where need be, and send and receive over the ways of all their instances together: they too are promised more than
they can do.
"""

import warnings
from typing import Any

import cvxpy as cp
import numpy as np

from planner.deployment import Phase
from planner.procurement.purchase import JOINT_INTO, JOINT_OUT, LENT, NEAR, Floats, Groups, Shop, Spans

NETWORK, WORLD = 0, 1
"""Columns of what leaves or enters an instance."""
OUT, INTO = 0, 1
"""Columns of what wires carry."""
PREFILL, DECODE, MIXED = range(3)
"""Columns of what a group serves."""


class Program:
    """The variables of the program, and its limits by kind."""

    def __init__(self, shop: Shop, prefill: Groups, decode: Groups, mixed: Groups, spans: Spans) -> None:
        offers = len(shop.gpus)
        self.shop = shop
        self.prefill, self.decode, self.mixed = _padded(prefill), _padded(decode), _padded(mixed)
        self.copies = cp.Variable(offers, integer=True)
        self.prefill_groups, self.decode_groups, self.mixed_groups = (
            cp.Variable(len(groups.gpus), integer=True) for groups in (self.prefill, self.decode, self.mixed)
        )
        self.inside = cp.Variable(offers, nonneg=True)
        self.out, self.into = (cp.Variable((offers, 2), nonneg=True) for _ in range(2))
        self.spanning = _Spanning(shop, spans)
        self.served = cp.sum(self.inside) + cp.sum(self.into) + self.mixed.rps @ self.mixed_groups
        self.served += self.spanning.served
        sent = shop.out_usd_per_hour @ self.out[:, WORLD] + shop.in_usd_per_hour @ self.into[:, WORLD]
        self.usd = shop.usd_per_hour @ self.copies + sent + self.spanning.usd

    @property
    def instances(self) -> Any:
        return cp.sum(self.copies)

    def solve(self, goal: Any, limits: list[Any], *, gap: float, seconds: float) -> float:
        """Minimise; HiGHS's own bound on the minimum, from below. That of the relaxation where it found no other."""
        problem = cp.Problem(cp.Minimize(goal), limits)
        options = {"time_limit": seconds, "mip_rel_gap": gap}
        with warnings.catch_warnings(action="ignore"):  # that the time limit ended it; the bound says how close
            problem.solve(solver=cp.HIGHS, **options)
            bound = float(problem.solver_stats.extra_stats.mip_dual_bound)
            if not np.isfinite(bound):
                relaxed = cp.Problem(cp.Minimize(goal), limits)
                relaxed.solve(solver=cp.HIGHS, solve_relaxation=True)
                bound = float(relaxed.value)
        return bound

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
        shop, spanning = self.shop, self.spanning
        networks = spanning.networks
        rows = [
            cp.sum(self.out[:, WORLD]) + cp.sum(spanning.out[:, WORLD])
            == cp.sum(self.into[:, WORLD]) + cp.sum(spanning.into[:, WORLD]),
            cp.sum(self.out, axis=1) + spanning.lent_out <= cp.multiply(shop.wire_rps[:, 0], self.copies),
            cp.sum(self.into, axis=1) <= cp.multiply(shop.wire_rps[:, 1], self.copies),
            self.out[shop.network < 0, NETWORK] == 0,
            self.into[shop.network < 0, NETWORK] == 0,
        ]
        if len(networks):
            sent = networks @ (self.out[:, NETWORK] + spanning.lent_out) + spanning.out[:, NETWORK]
            rows.append(sent + spanning.kept_out == networks @ self.into[:, NETWORK] + spanning.into[:, NETWORK])
        return rows


class _Spanning:
    """The part of the program that groups over several instances have, by network.

    KV that stays on an instance is counted apart, in requests/s: `near` is prefilled by such a group and decoded by one
    on that instance alone, `lent` the reverse, and `joint` is prefilled and decoded by such groups. The layers on other
    instances of the same pair have to leave, which takes less time than if all did, and counts as none: `lent_out` of
    the groups on one instance, by offer, and `kept_out` of the others.
    """

    def __init__(self, shop: Shop, spans: Spans) -> None:
        numbers = np.unique(shop.network[shop.network >= 0])
        offers, networks, rows = len(shop.gpus), max(1, len(numbers)), max(1, len(spans.network))
        self.spans = spans
        self.networks = np.array([shop.network == n for n in numbers], dtype=np.float64).reshape(len(numbers), offers)
        pools = range(spans.gpus.shape[1])
        self.pools = np.array([spans.pool == pool for pool in pools], dtype=np.float64).reshape(len(pools), offers)
        self.groups = cp.Variable((rows, len(Phase)), integer=True)
        self.out, self.into = (cp.Variable((networks, 2), nonneg=True) for _ in range(2))
        self.near, self.lent, self.joint, self.lent_out = (cp.Variable(offers, nonneg=True) for _ in range(4))
        self.kept_out = cp.Variable(networks, nonneg=True)
        self.served = cp.sum(self.near) + cp.sum(self.lent) + cp.sum(self.joint) + cp.sum(self.into)
        self.usd: Any = 0.0
        if len(spans.network):
            self.served += spans.rps[:, MIXED] @ self.groups[:, MIXED]
            self.usd = self._least(shop.out_usd_per_hour) @ self.out[:, WORLD]
            self.usd += self._least(shop.in_usd_per_hour) @ self.into[:, WORLD]

    def leases(self, idle: Any) -> list[Any]:
        """GPUs of each pool."""
        if not len(self.spans.network):
            flows = (self.out, self.into, self.near, self.lent, self.joint, self.lent_out, self.kept_out)
            return [self.groups == 0, *(flow == 0 for flow in flows)]
        return [self.groups >= 0, self.spans.gpus.T @ cp.sum(self.groups, axis=1) <= self.pools @ idle]

    def capacities(self) -> list[Any]:
        """Each network's prompts and decoding requests, and those of them that stay on an instance."""
        spans = self.spans
        if not len(spans.network):
            return []
        prefill, decode = self.groups[:, PREFILL], self.groups[:, DECODE]
        own = [spans.slower[spans.network == n].min(axis=0, initial=np.inf) for n in range(len(self.networks))]
        reach = np.isfinite(own)
        sent = cp.sum(cp.multiply(np.where(reach, own, 0.0), self.out), axis=1)
        by, kept, leaving = self._by_network, self.networks @ (self.near + self.joint), cp.sum(self.out, axis=1)
        return [
            sent + self.kept_out + kept <= by(spans.rps[:, PREFILL]) @ prefill,
            cp.sum(self.into, axis=1) + self.networks @ (self.lent + self.joint) <= by(spans.rps[:, DECODE]) @ decode,
            self.out[~reach] == 0,
            self.kept_out <= spans.most_beside * kept,
            self.lent_out <= spans.most_beside * self.lent,
            leaving + self.kept_out <= by(spans.wire_rps[:, OUT]) @ prefill,
            cp.sum(self.into, axis=1) <= by(spans.wire_rps[:, INTO]) @ decode,
            self.pools @ self.near <= spans.stays[:, :, NEAR].T @ prefill,
            self.pools @ self.lent <= spans.stays[:, :, LENT].T @ decode,
            self.pools @ self.joint <= spans.stays[:, :, JOINT_OUT].T @ prefill,
            self.pools @ self.joint <= spans.stays[:, :, JOINT_INTO].T @ decode,
            *(flow[spans.pool < 0] == 0 for flow in (self.near, self.lent, self.joint)),
        ]

    def _by_network(self, values: Floats) -> Floats:
        """A matrix that adds up a value of each group for the network it is in."""
        return np.array([np.where(self.spans.network == n, values, 0.0) for n in range(len(self.networks))])

    def _least(self, prices: Floats) -> Floats:
        return np.array([prices[of > 0].min() for of in self.networks])


def _padded(groups: Groups) -> Groups:
    """At least one row, of a group that does nothing, so that every matrix has a column."""
    if len(groups.gpus):
        return groups
    return Groups(np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1))


def _by_offer(groups: Groups, weight: Any, offers: int) -> Any:
    """A matrix that adds up a weight of groups for the offer they are on."""
    matrix = np.zeros((offers, len(groups.offer)))
    matrix[groups.offer, np.arange(len(groups.offer))] = weight
    return matrix
