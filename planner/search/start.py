"""Where searches begin, besides what procurement buys: groups clustered by bandwidth, and everything mixed."""

from planner.deployment import Phase
from planner.search.packings import PHASES, Packings
from planner.search.state import Group, State, inside
from planner.search.supply import Supply

Cluster = frozenset[int]


def mixed(packings: Packings, rented: tuple[int, ...]) -> State:
    """Each instance in the groups that serve the most alone, or in one phase where none serves alone."""
    groups: list[Group] = []
    for i, offer in enumerate(rented):
        every = packings.of(offer)
        packing = next((one for one in every if one[0][1] is Phase.MIXED), every[0] if every else ())
        groups += (inside(i, gpus, phase) for gpus, phase in packing)
    return State(rented, tuple(groups))


def clustered(packings: Packings, rented: tuple[int, ...]) -> State:
    """Both phases, in groups that fit the weights; of instances too small for any, those joined best share groups.

    Phases are dealt in turn, whichever serves less so far next.
    """
    ratings = packings.ratings
    groups: list[Group] = []
    served = {Phase.PREFILL: 0.0, Phase.DECODE: 0.0}
    for cluster in _fitting(packings, rented):
        phases = sorted(served, key=lambda phase: served[phase])
        for phase in phases:
            come = _groups(packings, rented, cluster, phase)
            if come:
                groups += come
                served[phase] += sum(one.rps for one in (ratings.of(rented, group) for group in come) if one)
                break
    return State(rented, tuple(groups))


def _fitting(packings: Packings, rented: tuple[int, ...]) -> list[Cluster]:
    """Single linkage on the bandwidth matrix: the two clusters with the widest link become one, where one of them fits
    no group yet."""
    clusters = [frozenset({i}) for i in range(len(rented))]
    while True:
        wanting = [one for one in clusters if not any(_groups(packings, rented, one, phase) for phase in PHASES)]
        joins = [
            (_gbit_per_s(packings.ratings.supply, rented, one, other), one, other)
            for one in wanting
            for other in clusters
            if one != other and packings.ratings.supply.joined([rented[i] for i in one | other])
        ]
        if not joins:
            return clusters
        _, one, other = max(joins, key=lambda join: (join[0], -len(join[1] | join[2]), sorted(join[1] | join[2])))
        clusters = [cluster for cluster in clusters if cluster not in (one, other)] + [one | other]


def _groups(packings: Packings, rented: tuple[int, ...], cluster: Cluster, phase: Phase) -> tuple[Group, ...]:
    """On one instance the packing for the phase; over several one group of as many GPUs of each as they all have."""
    if len(cluster) == 1:
        (i,) = cluster
        own = (one for one in packings.of(rented[i]) if all(each is phase for _, each in one))
        return tuple(Group(((i, gpus),), phase) for gpus, _ in next(own, ()))
    gpus = min(packings.ratings.supply.gpus[rented[i]] for i in cluster)
    group = Group(tuple((i, gpus) for i in sorted(cluster)), phase)
    return (group,) if packings.ratings.of(rented, group) else ()


def _gbit_per_s(supply: Supply, rented: tuple[int, ...], one: Cluster, other: Cluster) -> float:
    """The widest link from one cluster to the other."""
    return max(supply.link(rented[i], rented[j]).bandwidth_gbit_per_s for i in one for j in other)
