"""Where the replicas of a state lie: sites, of which most are one instance.

A site is a set of instances that groups which span several of them join. Sites alike, in their offers and in what lies
on them where, are interchangeable. Mixed replicas move no KV, and are left out.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from planner.deployment import Phase
from planner.search.rating import Rated, Ratings
from planner.search.state import State, in_shape


@dataclass(frozen=True, slots=True)
class Placed:
    """A replica of a site, and the instances that it is on, by their places there, in the order of its shape."""

    rated: Rated
    places: tuple[int, ...]

    def order(self) -> tuple[float, ...]:
        return *self.rated.order(), *self.places


@dataclass(frozen=True, slots=True)
class Site:
    """The offers of its instances, and its replicas."""

    offers: tuple[int, ...]
    replicas: tuple[Placed, ...]


@dataclass(slots=True, eq=False)
class _Joined:
    """Instances that turn out to belong together, and what is on them."""

    instances: list[int] = field(default_factory=list)
    replicas: list[tuple[Rated, tuple[int, ...]]] = field(default_factory=list)


def sites_of(ratings: Ratings, state: State) -> Counter[Site]:
    """How often each site occurs; instances without prefill or decode replicas are left out."""
    offers = [ratings.supply.alike[offer] for offer in state.rented]
    return Counter(_site(offers, joined) for joined in _joined(ratings, state))


def _joined(ratings: Ratings, state: State) -> Iterator[_Joined]:
    at: dict[int, _Joined] = {}
    for group in state.groups:
        if group.phase is Phase.MIXED:
            continue
        rated = ratings.of(state.rented, group)
        assert rated is not None, "a state that is scored has rated groups only"
        own = group.instances if len(group.cuts) == 1 else in_shape(ratings.supply, state.rented, group)
        met = {id(at[i]): at[i] for i in own if i in at}
        into, *others = met.values() if met else [_Joined()]
        for other in others:
            into.instances += other.instances
            into.replicas += other.replicas
        into.instances += [i for i in own if i not in at]
        into.replicas.append((rated, own))
        at.update(dict.fromkeys(into.instances if others else own, into))
    return iter({id(one): one for one in at.values()}.values())


def _site(offers: list[int], joined: _Joined) -> Site:
    """Its instances in an order that does not depend on their numbers, so that most that are alike are equal."""
    instances = joined.instances
    if len(instances) > 1:
        looks = {i: (offers[i], sorted(_parts(joined, i))) for i in instances}
        instances = sorted(instances, key=looks.__getitem__)
    place = {i: n for n, i in enumerate(instances)}
    replicas = (Placed(rated, tuple(place[i] for i in own)) for rated, own in joined.replicas)
    return Site(tuple(offers[i] for i in instances), tuple(sorted(replicas, key=Placed.order)))


def _parts(joined: _Joined, instance: int) -> Iterator[tuple[float, ...]]:
    """What is on an instance: each replica, and which of its instances this is."""
    return ((*rated.order(), own.index(instance)) for rated, own in joined.replicas if instance in own)
