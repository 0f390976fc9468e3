# mypy: disable-error-code="attr-defined,no-untyped-call"
"""Which offers to rent, and into which groups their GPUs go: a mixed-integer program, and a bound on any plan.

A group prefills, or decodes what others prefilled, or does both phases alone. Within an instance KV moves for nothing;
beyond it, it takes the instance's bandwidth, money, and some of the prefill group's capacity. Requests prefilled in a
private network may be decoded anywhere in it, and in the world by any group. This leaves out which pairs carry what, so
it can only promise more than orchestration finds: its bound holds for every plan of whole groups inside instances.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_INSTANCES = 48
GAP, MOST_S = 0.01, 5.0
"""HiGHS may stop this near its own bound, and must stop after this time; 150 offers take it a tenth of a second."""
SPARE_MONEY = 1e-3
"""What the whole budget weighs against the best rate: enough that nothing useless is rented."""
NETWORK, WORLD = 0, 1
"""Columns of what leaves or enters an instance."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Possible groups for one phase, one a row: the offer its GPUs are from, how many they are, and its requests/s."""

    offer: Ints
    gpus: Ints
    rps: Floats


@dataclass(frozen=True, slots=True)
class Shop:
    """The offers, one a row, and how KV leaves and enters them.

    `network` and `machine` number the private networks and physical machines, -1 for none. `holds_both` says whether a
    prefill and a decode group fit one copy, so that KV can stay inside. `slower` is how many times
    fewer prompts/s a prefill group does when its KV leaves the instance (network, world); infinite: it cannot.
    `wire_rps` is how many requests/s of KV an instance's bandwidth carries (out, in). `out_usd_per_hour` and
    `in_usd_per_hour` are what one request/s costs to send to the world and to receive from it.
    """

    usd_per_hour: Floats
    gpus: Ints
    available: Ints
    network: Ints
    machine: Ints
    holds_both: npt.NDArray[np.bool_]
    slower: Floats
    wire_rps: Floats
    out_usd_per_hour: Floats
    in_usd_per_hour: Floats


@dataclass(frozen=True, slots=True)
class Purchase:
    """Copies of each offer, and how many of each group; what they serve, and a bound on what any purchase serves.

    Where the least cost was sought, the bound is on the cost, from below.
    """

    copies: Ints
    prefill: Ints
    decode: Ints
    mixed: Ints
    served_rps: float
    usd_per_hour: float
    bound: float


def procure(
    shop: Shop,
    prefill: Groups,
    decode: Groups,
    mixed: Groups,
    *,
    budget_usd_per_hour: float,
    demand_rps: float | None = None,
    rent_all: bool = False,
    seconds: float = MOST_S,
) -> Purchase | None:
    """The purchase that serves the most within the budget or, given a demand, serves it for the least; None if none."""
    program = _Program(shop, prefill, decode, mixed)
    limits = [
        *program.leases(rent_all=rent_all),
        *program.capacities(),
        *program.transfers(),
        program.usd <= budget_usd_per_hour,
    ]
    if demand_rps is None:
        thrift = SPARE_MONEY * _best_rps(prefill, decode, mixed) / max(budget_usd_per_hour, 1e-9)
        goal = cp.Maximize(program.served - thrift * program.usd)
    else:
        thrift, goal = 0.0, cp.Minimize(program.usd)
        limits.append(program.served >= demand_rps)
    problem = cp.Problem(goal, limits)
    with warnings.catch_warnings(action="ignore"):  # that the time limit ended the search; the bound says how close
        problem.solve(solver=cp.HIGHS, time_limit=seconds, mip_rel_gap=GAP)
    if program.copies.value is None:
        return None
    return Purchase(
        copies=_rounded(program.copies),
        prefill=_rounded(program.prefill_groups)[: len(prefill.gpus)],
        decode=_rounded(program.decode_groups)[: len(decode.gpus)],
        mixed=_rounded(program.mixed_groups)[: len(mixed.gpus)],
        served_rps=float(program.served.value),
        usd_per_hour=float(program.usd.value),
        bound=_bound(problem) + thrift * budget_usd_per_hour,
    )


def _best_rps(prefill: Groups, decode: Groups, mixed: Groups) -> float:
    """What the best group serves alone or with one other: decode often does many times what any prefill feeds it."""
    most_prefill, most_decode, most_mixed = (float(one.rps.max(initial=0.0)) for one in (prefill, decode, mixed))
    return max(min(most_prefill, most_decode), most_mixed)


class _Program:
    """The variables of the program, and its limits by kind."""

    def __init__(self, shop: Shop, prefill: Groups, decode: Groups, mixed: Groups) -> None:
        offers = len(shop.gpus)
        self.shop = shop
        self.prefill, self.decode, self.mixed = _padded(prefill), _padded(decode), _padded(mixed)
        self.copies = cp.Variable(offers, integer=True)
        self.prefill_groups, self.decode_groups, self.mixed_groups = (
            cp.Variable(len(groups.gpus), integer=True) for groups in (self.prefill, self.decode, self.mixed)
        )
        self.inside = cp.Variable(offers, nonneg=True)
        self.out, self.into = (cp.Variable((offers, 2), nonneg=True) for _ in range(2))
        self.served = cp.sum(self.inside) + cp.sum(self.into) + self.mixed.rps @ self.mixed_groups
        sent = shop.out_usd_per_hour @ self.out[:, WORLD] + shop.in_usd_per_hour @ self.into[:, WORLD]
        self.usd = shop.usd_per_hour @ self.copies + sent

    def leases(self, *, rent_all: bool) -> list[Any]:
        """Copies on offer, GPUs in them, and machines that several offers are of."""
        shop = self.shop
        least = shop.available if rent_all else np.zeros_like(shop.available)
        grouped = _by_offer(self.prefill, self.prefill.gpus, len(shop.gpus)) @ self.prefill_groups
        grouped += _by_offer(self.decode, self.decode.gpus, len(shop.gpus)) @ self.decode_groups
        grouped += _by_offer(self.mixed, self.mixed.gpus, len(shop.gpus)) @ self.mixed_groups
        rows = [
            *(self.copies >= least, self.copies <= shop.available),
            *(self.prefill_groups >= 0, self.decode_groups >= 0, self.mixed_groups >= 0),
            cp.sum(self.copies) <= max(MOST_INSTANCES, int(least.sum())),
            grouped <= cp.multiply(shop.gpus, self.copies),
        ]
        for machine in np.unique(shop.machine[shop.machine >= 0]):
            of = np.flatnonzero(shop.machine == machine)
            if len(of) > 1 and not rent_all:
                rows.append(shop.gpus[of] @ self.copies[of] <= int(shop.gpus[of].max()))
        return rows

    def capacities(self) -> list[Any]:
        """Prompts that prefill groups take, and requests that decode groups take."""
        shop, prefill, decode = self.shop, self.prefill, self.decode
        reach = np.isfinite(shop.slower)
        taken = self.inside + cp.sum(cp.multiply(np.where(reach, shop.slower, 0.0), self.out), axis=1)
        return [
            taken <= _by_offer(prefill, prefill.rps, len(shop.gpus)) @ self.prefill_groups,
            self.inside + cp.sum(self.into, axis=1)
            <= _by_offer(decode, decode.rps, len(shop.gpus)) @ self.decode_groups,
            self.out[~reach] == 0,
            self.inside[~shop.holds_both] == 0,
        ]

    def transfers(self) -> list[Any]:
        """What is prefilled somewhere is decoded somewhere, over bandwidth that is there."""
        shop = self.shop
        networks = np.array([shop.network == n for n in np.unique(shop.network[shop.network >= 0])], dtype=np.float64)
        rows = [
            cp.sum(self.out[:, WORLD]) == cp.sum(self.into[:, WORLD]),
            cp.sum(self.out, axis=1) <= cp.multiply(shop.wire_rps[:, 0], self.copies),
            cp.sum(self.into, axis=1) <= cp.multiply(shop.wire_rps[:, 1], self.copies),
            self.out[shop.network < 0, NETWORK] == 0,
            self.into[shop.network < 0, NETWORK] == 0,
        ]
        if len(networks):
            rows.append(networks @ self.out[:, NETWORK] == networks @ self.into[:, NETWORK])
        return rows


def _bound(problem: Any) -> float:
    """HiGHS's own bound on the optimum; cvxpy hands it a minimum."""
    return float(abs(problem.solver_stats.extra_stats.mip_dual_bound))


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


def _rounded(variable: Any) -> Ints:
    return np.asarray(np.rint(variable.value), dtype=np.int64)
