"""Helix (ASPLOS 2025): layers placed on unlike GPUs such that the flow of requests through them is largest.

Helix gives every machine a range of layers, and every request a pipeline of its own through machines whose ranges make
up the model; a machine may serve many such pipelines. The replicas of an engine, and of our simulator, hold their GPUs
alone. So flow is decomposed before it is routed: a pipeline takes whole blocks of GPUs, TP inside an instance and PP
over several of one network, with the best split of the layers and order of its stages, and no two share a block. The
largest flow is then the best packing of such pipelines, found exactly. Every replica does both phases, as Helix's do.
What a pipeline carries is its rate within the SLO, not bare throughput, which is more than Helix asks for itself.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations_with_replacement, cycle, islice

from planner.baselines.packing import Packing, Pipeline, packed
from planner.baselines.setting import Setting, best_few
from planner.catalog import Link, Offer
from planner.choosing.candidate import Candidate
from planner.deployment import Phase
from planner.links import private_network
from planner.parallel.relaxed import Relaxed
from planner.procurement.groups import SIZES
from planner.requirements import refusal_of
from planner.search.rating import Ratings
from planner.search.state import Group, State
from planner.search.supply import Supply

MOST_JOINED = 4
"""Instances of one pipeline."""
MOST_PIPELINES = 100
"""Over several instances of one network and of blocks of one size; those of the fewest instances are kept."""


@lru_cache(maxsize=1)
def helix(setting: Setting) -> list[Candidate]:
    """The placement of the largest flow. HexGen begins with it as well, so it is kept for the same setting."""
    llm = setting.capacities.task.llm
    offers = [offer for offer in setting.offers if setting.fixed or not refusal_of(llm, offer)]
    supply = Supply(offers, llm, links=setting.links, rent_all=setting.fixed)
    ratings = Ratings(setting.capacities, supply)
    pipelines, packing = _largest_flow(setting, supply, ratings)
    return best_few([setting.search.settled(ratings, _state(supply, pipelines, packing))])


def _largest_flow(setting: Setting, supply: Supply, ratings: Ratings) -> tuple[list[Pipeline], Packing]:
    """The packing of all pipelines. Long ones are rated once a packing takes them for what nothing exceeds."""
    alone = [found for i, gpus in _blocks(supply) if (found := _rated(ratings, (i,), gpus))]
    pipelines = [*alone, *_hopeful(setting, supply, alone)]
    rated = set(alone)
    while True:
        packing = packed(supply.offers, pipelines, setting.budget_usd_per_hour, rent_all=setting.fixed)
        taken = {one for one, times in zip(pipelines, packing.times, strict=True) if times}
        if taken <= rated:
            return pipelines, packing
        known = {one: _rated(ratings, one.offers, one.gpus) for one in taken - rated}
        rated |= {one for one in known.values() if one}
        pipelines = [one for old in pipelines if (one := known.get(old, old))]


def _blocks(supply: Supply) -> Iterator[tuple[int, int]]:
    """(offer, GPUs) of every block."""
    return ((i, gpus) for gpus in SIZES for i, count in enumerate(supply.gpus) if count >= gpus)


def _hopeful(setting: Setting, supply: Supply, alone: Sequence[Pipeline]) -> Iterator[Pipeline]:
    """Blocks of one size on several instances of a network, which may serve more together than each alone."""
    each = {(one.offers[0], one.gpus): one.rps for one in alone}
    relaxed = Relaxed(setting.capacities.task, setting.capacities.codec)
    networks: dict[tuple[str, int], list[int]] = {}
    for i, gpus in _blocks(supply):
        if network := private_network(supply.offers[i]):
            networks.setdefault((network, gpus), []).append(i)
    for (_, gpus), own in networks.items():
        for offers in islice(_joined(supply.offers, own), MOST_PIPELINES):
            most = _most_rps(supply, relaxed, offers, gpus)
            if most > sum(each.get((i, gpus), 0.0) for i in offers):
                yield Pipeline(offers, gpus, most)


def _most_rps(supply: Supply, relaxed: Relaxed, offers: tuple[int, ...], gpus: int) -> float:
    """What no layout of these blocks exceeds, whatever lies between them."""
    kinds = Counter(supply.kinds[i] for i in offers)
    links = [supply.link(a, b) for a in offers for b in offers]
    best = Link(max(link.bandwidth_gbit_per_s for link in links), min(link.latency_ms for link in links))
    return relaxed.best(tuple(kinds.items()), gpus, Phase.MIXED, best)


def _joined(offers: Sequence[Offer], own: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Instances of these offers, two to a few, as many of each as there are."""
    every = chain.from_iterable(combinations_with_replacement(own, n) for n in range(2, MOST_JOINED + 1))
    return (one for one in every if all(times <= offers[i].available for i, times in Counter(one).items()))


def _rated(ratings: Ratings, offers: tuple[int, ...], gpus: int) -> Pipeline | None:
    group = Group(tuple((place, gpus) for place in range(len(offers))), Phase.MIXED)
    rated = ratings.of(offers, group)
    return Pipeline(offers, gpus, rated.rps) if rated else None


def _state(supply: Supply, pipelines: Sequence[Pipeline], found: Packing) -> State:
    """The packing with its instances named: blocks are dealt in turn to the copies that are cut to their size."""
    cut = [key for key, copies in found.copies.items() for _ in range(copies)]
    if supply.rent_all:
        left = Counter(supply.everything) - Counter(offer for offer, _ in cut)
        cut += [(offer, 0) for offer in left.elements()]
    turns = {key: cycle([place for place, own in enumerate(cut) if own == key]) for key in set(cut)}
    groups = []
    for pipeline, times in zip(pipelines, found.times, strict=True):
        for _ in range(times):
            places = {next(turns[offer, pipeline.gpus]) for offer in pipeline.offers}
            if len(places) == len(pipeline.offers):
                groups.append(Group(tuple((place, pipeline.gpus) for place in sorted(places)), Phase.MIXED))
    return State(tuple(offer for offer, _ in cut), tuple(groups))
