"""States that differ in names only are one; a step changes what it says and nothing else."""

import pytest

from planner.deployment import Phase
from planner.search.settling import settled, state_of
from planner.search.state import Group, State, Step, canonical, inside
from planner.search.supply import Supply
from tests.planner.search.searching import capacities, offer, scorer

P, D, M = Phase.PREFILL, Phase.DECODE, Phase.MIXED


def supply(*offers, rent_all: bool = True) -> Supply:
    return Supply(offers, capacities().task.llm, links={}, rent_all=rent_all)


def test_alike_instances_are_interchangeable_and_unlike_ones_are_not():
    twins = supply(offer("a"), offer("b"), offer("c", gpu="A6000"))
    first = State((0, 1, 2), (inside(0, 2, P), inside(1, 2, D)))
    second = State((0, 1, 2), (inside(0, 2, D), inside(1, 2, P)))
    other = State((0, 1, 2), (inside(0, 2, P), inside(2, 2, D)))
    assert canonical(twins, first) == canonical(twins, second)
    assert canonical(twins, first) != canonical(twins, other)


def test_the_instance_that_a_span_begins_on_is_told_from_its_others():
    twins = supply(offer("a"), offer("b"))
    span = Group(((0, 1), (1, 1)), M)
    first, second = (State((0, 1), (span, inside(i, 1, P))) for i in (0, 1))
    assert canonical(twins, first) != canonical(twins, second)


def test_prices_wires_and_networks_tell_offers_apart():
    unlike = (offer("b", usd_per_hour=2.0), offer("c", network=""), offer("d", inet_up_gbit_per_s=1.0))
    assert supply(offer("a"), *unlike, offer("e")).alike == (0, 1, 2, 3, 0)


def test_releasing_an_instance_closes_up_the_numbers():
    before = State((5, 6, 7), (inside(0, 1, P), inside(1, 1, D), Group(((0, 1), (2, 1)), M)))
    after = before.after(Step(gone=(1,), come=(inside(3, 2, D),), released=(1,), rented=(8,)))
    assert after == State((5, 7, 8), (inside(0, 1, P), Group(((0, 1), (1, 1)), M), inside(2, 2, D)))


def test_a_machine_is_rented_once_though_several_offers_are_of_it():
    market = supply(offer("whole", gpus=4, machine="m"), offer("half", machine="m", available=2), rent_all=False)
    assert market.allows((0,))
    assert market.allows((1, 1))
    assert not market.allows((0, 1))
    assert not market.allows((1, 1, 1))


def test_a_state_settles_on_instances_and_is_read_back():
    of = scorer(offer("a", gpus=4), offer("b", gpus=4), model="llama-3.1-8b")
    state = State((0, 1), (inside(0, 2, P), inside(0, 1, D), Group(((0, 1), (1, 1)), M), inside(1, 3, D)))
    instances, members = settled(of.ratings, state)
    used = sorted((stage.instance, gpu) for one in members for stage in one.replica.stages for gpu in stage.gpus)
    assert used == [(name, gpu) for name in ("i0", "i1") for gpu in range(4)]
    back = state_of({"a": 0, "b": 1}, instances, members)
    assert canonical(of.supply, back) == canonical(of.supply, state)


@pytest.mark.parametrize("joined", ["lan", ""])
def test_a_replica_spans_instances_of_one_network_only(joined):
    own = supply(offer("a", network=joined), offer("b", network=joined))
    assert own.joined((0, 1)) is (joined == "lan")


def test_a_replica_spans_no_networks_that_two_providers_name_alike():
    own = supply(offer("a", network="lan"), offer("b", network="lan", provider="runpod"))
    assert not own.joined((0, 1))
