"""Designations up to symmetry: of replicas that are alike, it only matters how many are in which phase.

Two replicas are alike where exchanging them changes nothing: same layout, and either the same instances or two that are
alike, with the same links to all others, on which each is the only one. So they fall into classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import comb, prod

import numpy as np

from planner.catalog import Link
from planner.demand import Floats, Ints
from planner.deployment import Instance
from planner.links import Links
from planner.members import Member
from planner.rebalancing.phase_program import PHASES, Cut


@dataclass(frozen=True, slots=True)
class Moves:
    """From the counts in force to those of each option (first axis): how many of a class stay in each phase, and how
    many change from one (second axis) to another (third axis)."""

    stay: Floats
    change: Floats

    @property
    def flips(self) -> Ints:
        return np.asarray(self.change.sum(axis=(1, 2)).round().astype(np.int64))


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of every designation, as one and what the option of each class adds to it."""

    base: float
    parts: tuple[Floats, ...]

    def every(self) -> Floats:
        """Of all designations, by number."""
        return np.asarray(self.base + reduce(lambda sums, part: np.add.outer(sums, part).ravel(), self.parts))

    def of(self, numbers: Ints) -> Floats:
        """Of some."""
        chosen = np.unravel_index(numbers, [len(part) for part in self.parts])
        return np.asarray(self.base + sum(part[option] for part, option in zip(self.parts, chosen, strict=True)))


@dataclass(frozen=True, slots=True)
class Designations:
    """All of them up to symmetry, numbered. `options` are the counts by phase that a class can have.

    `in_force` is each replica's phase now, `load` the part of the traffic it takes: the least loaded flip first.
    """

    classes: tuple[tuple[int, ...], ...]
    options: tuple[Ints, ...]
    in_force: Ints
    load: Floats

    @property
    def count(self) -> int:
        return prod(len(options) for options in self.options)

    def bounds_rps(self, cut: Cut) -> Spread:
        """What the cut says of each designation."""
        if cut.phases is None:
            parts = [options @ cut.prices[:, [*alike]].mean(axis=1) for alike, options in self._each]
        else:
            parts = [_priced(o, cut.phases[[*alike]], cut.prices[:, [*alike]]) for alike, o in self._each]
        return Spread(cut.at_none_rps, tuple(parts))

    def farness(self) -> Spread:
        """How far each designation is from the one in force: its flips and, as less than one more, the traffic that the
        flipped replicas carry now."""
        whole = 1 + float(self.load.sum())
        parts = []
        for alike, options in self._each:
            now, load = self.in_force[[*alike]], self.load[[*alike]]
            parts.append(moves(options, now).flips + _moved_load(options, now, load) / whole)
        return Spread(0.0, tuple(parts))

    def phases(self, number: int) -> Ints:
        """A designation by replica, with the fewest flips from the one in force, of the replicas that carry least."""
        chosen = np.unravel_index(number, [len(options) for options in self.options])
        found = self.in_force.copy()
        for (alike, options), option in zip(self._each, chosen, strict=True):
            change = moves(options[[option]], self.in_force[[*alike]]).change[0].round().astype(int)
            for now in range(len(PHASES)):
                ready = sorted((i for i in alike if self.in_force[i] == now), key=lambda i: (self.load[i], i))
                turned = np.repeat(np.arange(len(PHASES)), change[now])
                found[ready[: len(turned)]] = turned
        return found

    def neighbours(self, phases: Ints) -> Ints:
        """A row for every flip of one replica, the first of those that are alike and in one phase."""
        turned = [
            (next(i for i in alike if phases[i] == now), to)
            for alike in self.classes
            for now in sorted({int(phases[i]) for i in alike})
            for to in range(len(PHASES))
            if to != now
        ]
        rows = np.tile(phases, (len(turned), 1))
        rows[np.arange(len(turned)), [i for i, _ in turned]] = [to for _, to in turned]
        return rows

    @property
    def _each(self) -> list[tuple[tuple[int, ...], Ints]]:
        return list(zip(self.classes, self.options, strict=True))


def designations_of(members: Sequence[Member], links: Links, load: Floats, phases: int = len(PHASES)) -> Designations:
    """Of these members, in the first so many of PHASES."""
    classes = classes_of(members, links)
    options = tuple(_counts(len(alike), phases) for alike in classes)
    return Designations(classes, options, phases_of(members), load)


def phases_of(members: Sequence[Member]) -> Ints:
    return np.array([PHASES.index(member.phase) for member in members], dtype=np.int64)


def designation_count(classes: Sequence[Sequence[int]]) -> int:
    return prod(comb(len(alike) + len(PHASES) - 1, len(PHASES) - 1) for alike in classes)


def classes_of(members: Sequence[Member], links: Links) -> tuple[tuple[int, ...], ...]:
    """Places of the members that are alike, in order of their first."""
    found: list[list[int]] = []
    for i, member in enumerate(members):
        mine = next((alike for alike in found if _alike(members, links, members[alike[0]], member)), None)
        if mine is None:
            found.append([i])
        else:
            mine.append(i)
    return tuple(map(tuple, found))


def moves(options: Ints, in_force: Ints) -> Moves:
    """The fewest changes that lead to each option. Of three phases one alone gives or one alone takes, so that it is
    clear who goes where."""
    now = np.bincount(in_force, minlength=len(PHASES))
    stay = np.minimum(options, now)
    gives, takes = now - stay, options - stay
    total = np.maximum(gives.sum(axis=1), 1)[:, None, None]
    return Moves(stay.astype(np.float64), gives[:, :, None] * takes[:, None, :] / total)


def _counts(size: int, phases: int) -> Ints:
    """Every way to divide `size` replicas among phases."""
    mixed = range(size + 1) if phases == len(PHASES) else (0,)
    return np.array([(size - d - m, d, m) for m in mixed for d in range(size - m + 1)], dtype=np.int64)


def _priced(options: Ints, phases: Ints, prices: Floats) -> Floats:
    """A cut over one class: its replicas stay where the cut has them as far as an option allows. Each of those in one
    phase may be the one to leave, so their mean prices hold as well."""
    cells = [prices[:, phases == now] for now in range(len(PHASES))]
    mean = np.array([cell.mean(axis=1) if cell.shape[1] else np.zeros(len(PHASES)) for cell in cells])
    made = moves(options, phases)
    return np.asarray(made.stay @ np.diag(mean) + (made.change * mean).sum(axis=(1, 2)))


def _moved_load(options: Ints, in_force: Ints, load: Floats) -> Floats:
    leaving = moves(options, in_force).change.sum(axis=2).round().astype(np.int64)
    lightest = [np.append(0.0, np.cumsum(np.sort(load[in_force == now]))) for now in range(len(PHASES))]
    return np.asarray(sum(lightest[now][leaving[:, now]] for now in range(len(PHASES))))


def _alike(members: Sequence[Member], links: Links, one: Member, other: Member) -> bool:
    if one.layout != other.layout:
        return False
    if one.others or other.others or one.instance.id == other.instance.id:
        return [(place.id, layers) for place, layers in one.held] == [(p.id, layers) for p, layers in other.held]
    ends = {one.instance.id, other.instance.id}
    alone = sum(bool(ends & {place.id for place in member.instances}) for member in members) == len(ends)
    return alone and _same_place(one, other, links)


def _same_place(one: Member, other: Member, links: Links) -> bool:
    """Instances alike but for their names, with the same stated links to others and to each other."""

    def unnamed(instance: Instance) -> Instance:
        return replace(instance, id="", offer_id="", machine="", gpu_count=0, usd_per_hour=0.0)

    same = unnamed(one.instance) == unnamed(other.instance)
    return same and _stated(one, other, links) == _stated(other, one, links)


def _stated(one: Member, other: Member, links: Links) -> dict[tuple[str, str], Link]:
    names = {one.instance.id: "this", one.instance.offer_id: "this offer"}
    names |= {other.instance.id: "that", other.instance.offer_id: "that offer"}
    mine = (one.instance.id, one.instance.offer_id)
    return {(names.get(a, a), names.get(b, b)): link for (a, b), link in links.items() if a in mine or b in mine}
