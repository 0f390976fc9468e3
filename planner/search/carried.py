"""What prefill and decode replicas serve together: orchestration's linear program over classes of sites.

Sites alike in offers and in what lies on them are one class, and so are the replicas alike within them: of all optimal
flows one treats them alike, their mean over every way to exchange them. Thus a class of m sites has m times the
capacity of one, and the program has a column for each pair of classes instead of one for each pair of replicas.
It is the program of `planner/orchestration`, with the same hops, wires and prices.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import highspy
import numpy as np

from planner.demand import Floats
from planner.deployment import Phase
from planner.errors import SolverFailed
from planner.links import INSIDE, USABLE
from planner.orchestration.pairing import FULL
from planner.search.hops import End, Hops, Shared
from planner.search.sites import Placed, Site

Row: TypeAlias = tuple[object, ...]
PREFILL, DECODE, OUT, INTO, STATED, MONEY, ASKED = "prefill", "decode", "out", "into", "stated", "money", "asked"
WIRES = (OUT, INTO, STATED)
DIGITS = 9
"""Of requests/s: beyond them they depend on the order of the program's columns."""
MONEY_WEIGHT = 1e-4
"""What the dearest hop's money weighs against a request/s: it chooses among flows that serve as much."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Requests/s prefilled at one replica and decoded at another, what moving them costs where only so many were asked
    for, and whether a wire is full of KV that could be packed."""

    rps: float
    usd_per_hour: float
    could_pack: bool


NOTHING = Carried(0.0, 0.0, could_pack=False)


class Carrier:
    """Solves the program over the hops of one supply."""

    def __init__(self, hops: Hops) -> None:
        self.hops = hops
        self._solver = highspy.Highs()  # type: ignore[no-untyped-call]
        self._solver.silent()
        self._solver.setOptionValue("presolve", "off")

    def most(self, sites: Mapping[Site, int], budget_usd_per_hour: float, asked_rps: float | None = None) -> Carried:
        """The most requests/s that replicas, wires and money carry; at most `asked_rps`, and those for the least."""
        ends = {phase: list(_ends(sites, phase)) for phase in (Phase.PREFILL, Phase.DECODE)}
        program = _Program(self.hops, budget_usd_per_hour, asked_rps)
        for source in ends[Phase.PREFILL]:
            for target in ends[Phase.DECODE]:
                program.join(source, target)
        return program.solved(self._solver) if program.usd_per_hour else NOTHING


@dataclass(frozen=True)
class _Ends:
    """Replicas alike, `each` on every one of `sites` sites alike, which are the class number `site`."""

    replica: Placed
    offers: tuple[int, ...]
    site: int
    each: int
    sites: int

    @cached_property
    def end(self) -> End:
        return End(self.replica.rated, tuple(self.offers[place] for place in self.replica.places))

    def shared(self, other: "_Ends") -> Shared:
        """Which of their instances are the same, if they are in one site."""
        there = {place: i for i, place in enumerate(other.replica.places)}
        return tuple((i, there[place]) for i, place in enumerate(self.replica.places) if place in there)


def _ends(sites: Mapping[Site, int], phase: Phase) -> Iterator[_Ends]:
    for number, (site, count) in enumerate(sites.items()):
        for replica, each in Counter(one for one in site.replicas if one.rated.phase is phase).items():
            yield _Ends(replica, site.offers, number, each, count)


class _Program:
    """Columns: requests/s from one class of replicas to another, inside their sites or between them."""

    def __init__(self, hops: Hops, budget_usd_per_hour: float, asked_rps: float | None) -> None:
        self.hops = hops
        self.budget_usd_per_hour = budget_usd_per_hour
        self.asked_rps = asked_rps
        self.rows: dict[Row, int] = {}
        self.row_most: list[float] = []
        self.starts: list[int] = []
        self.index: list[int] = []
        self.value: list[float] = []
        self.column_most: list[float] = []
        self.usd_per_hour: list[float] = []
        self.packs: list[bool] = []
        self.crosses: list[bool] = []

    def join(self, source: _Ends, target: _Ends) -> None:
        """The pairs inside a site, and those of two."""
        if source.site == target.site:
            self._column(source, target, source.shared(target), pairs=source.each * target.each * source.sites)
        if source.site != target.site or source.sites > 1:
            self._column(source, target)

    def _column(self, source: _Ends, target: _Ends, shared: Shared = (), pairs: int = 0) -> None:
        """What 1 request/s takes of each row. Inside an instance every pair has a path of its own."""
        taken = self.hops.of(source.end, target.end, shared)
        if taken is None:
            return
        self.starts.append(len(self.index))
        self._takes((PREFILL, source.site, source.replica), source.each * source.sites, taken.use_s)
        self._takes((DECODE, target.site, target.replica), target.each * target.sites, 1 / target.replica.rated.rps)
        for i, share in taken.out:
            way = source.sites * self.hops.out_gbit_per_s(source.end.offers[i])
            self._takes((OUT, source.site, source.replica.places[i]), way, share * taken.gbit)
        for i, share in taken.into:
            way = target.sites * self.hops.into_gbit_per_s(target.end.offers[i])
            self._takes((INTO, target.site, target.replica.places[i]), way, share * taken.gbit)
        for stated in taken.stated:
            self._takes((STATED, stated.ends), stated.gbit_per_s, stated.share * taken.gbit)
        if taken.usd_per_hour > 0:
            self._takes((MONEY,), self.budget_usd_per_hour, taken.usd_per_hour)
        if self.asked_rps is not None:
            self._takes((ASKED,), self.asked_rps, 1.0)
        inside = taken.inside * taken.gbit
        most = pairs * USABLE * INSIDE.bandwidth_gbit_per_s / inside if inside else highspy.kHighsInf
        self.column_most.append(most)
        self.usd_per_hour.append(taken.usd_per_hour)
        self.packs.append(taken.packs)
        self.crosses.append(bool(taken.out))

    def _takes(self, row: Row, most: float, each: float) -> None:
        if row not in self.rows:
            self.rows[row] = len(self.row_most)
            self.row_most.append(most)
        self.index.append(self.rows[row])
        self.value.append(each)

    def solved(self, solver: highspy.Highs) -> Carried:
        solver.passModel(self._stated())
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            status = solver.modelStatusToString(solver.getModelStatus())
            raise SolverFailed(f"Orchestration ended with {status}; expected an optimum, as no flow is feasible.")
        found = solver.getSolution()
        flow = np.maximum(np.array(found.col_value), 0.0)
        usd_per_hour = 0.0 if self.asked_rps is None else float(flow @ self.usd_per_hour)
        rps = round(float(flow.sum()), DIGITS)
        return Carried(rps, usd_per_hour, self._could_pack(flow, np.array(found.row_value)))

    def _could_pack(self, flow: Floats, used: Floats) -> bool:
        """Where wires are full, can anything that crosses them be packed? Where a path inside is, can what takes it?"""
        wires = [i for row, i in self.rows.items() if row[0] in WIRES]
        full = (used[wires] >= FULL * np.array(self.row_most)[wires]).any()
        packs, full_inside = np.array(self.packs), flow >= FULL * np.array(self.column_most)
        return bool((full and (packs & self.crosses).any()) or (packs & full_inside).any())

    def _stated(self) -> highspy.HighsLp:
        """In HiGHS's own words."""
        width, height = len(self.column_most), len(self.row_most)
        usd = np.array(self.usd_per_hour)
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = width, height
        program.col_cost_ = MONEY_WEIGHT * usd / max(usd.max(), 1e-9) - 1.0 if self.asked_rps else np.full(width, -1.0)
        program.col_lower_, program.col_upper_ = np.zeros(width), np.array(self.column_most)
        program.row_lower_, program.row_upper_ = np.full(height, -highspy.kHighsInf), np.array(self.row_most)
        program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        program.a_matrix_.start_ = np.array([*self.starts, len(self.index)], dtype=np.int32)
        program.a_matrix_.index_ = np.array(self.index, dtype=np.int32)
        program.a_matrix_.value_ = np.array(self.value)
        return program
