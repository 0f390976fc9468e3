"""Between the search's states and what a plan is made of: instances and replicas with their names, GPUs and layers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from planner.deployment import Instance
from planner.members import Member
from planner.procurement.placing import replica_of
from planner.search.rating import Ratings
from planner.search.state import Group, State, in_shape


def settled(ratings: Ratings, state: State) -> tuple[list[Instance], list[Member]]:
    """Instances in the order of their offers, on each the replicas with the most GPUs first; every group is rated."""
    order = sorted(range(len(state.rented)), key=lambda i: state.rented[i])
    instances = {i: ratings.supply.instance(state.rented[i], f"i{n}") for n, i in enumerate(order)}
    places = {i: n for n, i in enumerate(order)}
    groups = sorted(state.groups, key=lambda group: (min(places[i] for i in group.instances), -group.gpus, group.phase))
    first = dict.fromkeys(order, 0)
    members = []
    for number, group in enumerate(groups):
        members.append(_member(ratings, state, group, f"r{number}", instances, first))
        for i, gpus in group.cuts:
            first[i] += gpus
    return list(instances.values()), members


def state_of(offers: Mapping[str, int], instances: Sequence[Instance], members: Sequence[Member]) -> State:
    """The state that members on these instances are in; `offers` numbers the ids of their offers."""
    places = {instance.id: i for i, instance in enumerate(instances)}
    groups = []
    for member in members:
        gpus = Counter(places[stage.instance] for stage in member.replica.stages for _ in stage.gpus)
        groups.append(Group(tuple(sorted(gpus.items())), member.phase))
    return State(tuple(offers[instance.offer_id] for instance in instances), tuple(groups))


def _member(
    ratings: Ratings, state: State, group: Group, name: str, instances: Mapping[int, Instance], first: Mapping[int, int]
) -> Member:
    rated = ratings.of(state.rented, group)
    assert rated is not None, "a state that was scored has rated groups only"
    own = in_shape(ratings.supply, state.rented, group)
    replica = replica_of(name, group.phase, [instances[i].id for i in own], [first[i] for i in own], rated.layout)
    named = {instance.id: instance for instance in instances.values()}
    head, *others = (named[one] for one in replica.instances)
    return Member(replica, head, rated.layout, tuple(others))
