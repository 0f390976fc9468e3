"""Systems that run on GPUs of one type: the best of all types or, where the whole fleet is given, each type on its own.

A configuration is how many GPUs a replica has in each phase, the same for all replicas; it lies on them in the best of
its TP x PP. All configurations are tried, in the order of what they could serve at most, until no other can be better.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from typing import TypeAlias

from planner.baselines.rules import Sized
from planner.baselines.setting import FINALISTS, Setting, best_few
from planner.choosing.candidate import Candidate
from planner.deployment import Phase
from planner.parallel.rules import Ruled
from planner.procurement.groups import Group
from planner.procurement.shop import Choice

Sizes: TypeAlias = Mapping[tuple[str, Phase], int]
"""GPUs of a replica by GPU type and phase."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """GPUs of a replica, and what no purchase of such replicas exceeds."""

    gpu_type: str
    sizes: Sizes
    most_rps: float


@dataclass(frozen=True, slots=True)
class Pool:
    """What a configuration makes of the offers."""

    configuration: Configuration
    formed: Candidate

    @property
    def rps(self) -> float:
        return self.formed.pairing.served_rps


def homogeneous(
    setting: Setting, capacities: Ruled, phases: tuple[Phase, ...], *, smallest: bool = False
) -> list[Candidate]:
    """The best pools whose replicas do these phases: any groups that the capacities allow, or the smallest alone."""
    every = list(_configurations(setting, capacities, phases, smallest=smallest))
    if not setting.fixed:
        return [pool.formed for pool in _best(setting, capacities, every)]
    types = dict.fromkeys(one.gpu_type for one in every)
    alone = [_best(setting, capacities, [one for one in every if one.gpu_type == name]) for name in types]
    united = {key: gpus for pools in alone for key, gpus in (pools[0].configuration.sizes.items() if pools else ())}
    return best_few([setting.formed(_sized(capacities, united))])


def _best(setting: Setting, capacities: Ruled, configurations: Sequence[Configuration]) -> list[Pool]:
    """The best few of the configurations."""
    pools: list[Pool] = []
    for one in sorted(configurations, key=lambda one: -one.most_rps):
        if pools and one.most_rps <= pools[0].rps:
            break
        formed = setting.only(one.gpu_type).formed(_sized(capacities, one.sizes))
        pools = sorted([*pools, *([Pool(one, formed)] if formed else [])], key=lambda pool: -pool.rps)[:FINALISTS]
    return pools


def _sized(capacities: Ruled, sizes: Sizes) -> Ruled:
    """The same capacities for groups of these sizes only."""
    return type(capacities)(capacities.whole, Sized(sizes))


def _configurations(
    setting: Setting, capacities: Ruled, phases: tuple[Phase, ...], *, smallest: bool
) -> Iterator[Configuration]:
    """Every type with every number of GPUs in each phase that is worth forming."""
    for name in setting.gpu_types:
        own = setting.only(name)
        choice = own.choice(capacities)
        by_size = [_by_size(groups_of(choice, phase)) for phase in phases]
        for sizes in product(*(sorted(found)[:1] if smallest else sorted(found) for found in by_size)):
            chosen = zip(phases, by_size, sizes, strict=True)
            groups = [found[gpus] for _, found, gpus in chosen]
            named = {(name, phase): gpus for phase, gpus in zip(phases, sizes, strict=True)}
            yield Configuration(name, named, most_rps(own, choice, groups))


def most_rps(setting: Setting, choice: Choice, groups: Sequence[Sequence[Group]]) -> float:
    """What no purchase of these groups exceeds, given as one list for each phase: the money ends, or the GPUs do.

    Each phase takes at least its cheapest group's share of an instance for each request/s.
    """
    affordable = [[g for g in phase if _is_affordable(setting, choice, g)] for phase in groups]
    if not all(affordable):
        return 0.0
    usd = sum(min(_usd_per_hour_per_rps(choice, g) for g in phase) for phase in affordable)
    bought = setting.budget_usd_per_hour / usd if usd and not setting.fixed else inf
    return min([bought, *(sum(_rps_of_all(choice, g) for g in phase) for phase in affordable)])


def groups_of(choice: Choice, phase: Phase) -> tuple[Group, ...]:
    match phase:
        case Phase.PREFILL:
            return choice.options.prefill
        case Phase.DECODE:
            return choice.options.decode
        case Phase.MIXED:
            return choice.options.mixed


def _by_size(groups: Sequence[Group]) -> dict[int, list[Group]]:
    found: dict[int, list[Group]] = {}
    for group in groups:
        found.setdefault(group.layout.gpus, []).append(group)
    return found


def _is_affordable(setting: Setting, choice: Choice, group: Group) -> bool:
    return setting.fixed or choice.offers[group.offer].usd_per_hour <= setting.budget_usd_per_hour


def _usd_per_hour_per_rps(choice: Choice, group: Group) -> float:
    offer = choice.offers[group.offer]
    return offer.usd_per_hour * group.layout.gpus / offer.gpu_count / group.rps


def _rps_of_all(choice: Choice, group: Group) -> float:
    """Of all copies of the group's offer, full of such groups."""
    offer = choice.offers[group.offer]
    return offer.available * (offer.gpu_count // group.layout.gpus) * group.rps
