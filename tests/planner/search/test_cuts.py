"""What groups over several instances give each other: never a GPU more or less than there is."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from planner.deployment import Phase
from planner.search.cuts import gatherings, handovers, shifts, trades
from planner.search.moves import View
from planner.search.state import Group, State, Step, inside
from tests.planner.search.searching import offer, scorer

P, D = Phase.PREFILL, Phase.DECODE
OF = scorer(
    offer("a", gpus=4, available=2), offer("b", gpu="A6000", gpus=4, available=2), offer("far", network="other")
)
RENTED = (0, 0, 1, 1, 2)
STATE = State(
    RENTED,
    (
        Group(((0, 2), (1, 2)), P),
        Group(((0, 2), (1, 2)), D),
        Group(((2, 2), (3, 2)), P),
        inside(2, 2, D),
        inside(4, 2, D),
    ),
)


def steps(kind: Callable[[View], Iterator[Step]], state: State = STATE) -> list[State]:
    return [state.after(step) for step in kind(View(OF.supply, state))]


@pytest.mark.parametrize("kind", [handovers, trades, shifts, gatherings])
def test_every_step_leads_to_groups_that_can_be(kind):
    found = steps(kind, State(RENTED, STATE.groups[1:]) if kind is gatherings else STATE)
    assert found
    for state in found:
        used = Counter[int]()
        for group in state.groups:
            assert len({gpus for _, gpus in group.cuts}) == 1
            assert len(set(group.instances)) == len(group.cuts)
            assert OF.supply.joined([state.rented[i] for i in group.instances])
            used.update(dict(group.cuts))
        assert all(used[i] <= OF.supply.gpus[offer] for i, offer in enumerate(state.rented))


def test_a_cut_goes_from_one_group_to_another():
    larger = {group.cuts for state in steps(handovers) for group in state.groups if len(group.cuts) == 3}
    assert {((0, 2), (2, 2), (3, 2)), ((0, 2), (1, 2), (2, 2))} <= larger


def test_two_groups_trade_a_cut():
    assert any({Group(((0, 2), (2, 2)), D), Group(((1, 2), (3, 2)), P)} & set(one.groups) for one in steps(trades))


def test_of_two_groups_on_the_same_instances_one_takes_a_gpu_of_each():
    (more_decode, more_prefill) = steps(shifts)
    grown = {group.phase: group.cuts for group in more_decode.groups if group.instances == (0, 1)}
    assert grown in ({P: ((0, 1), (1, 1)), D: ((0, 3), (1, 3))}, {P: ((0, 3), (1, 3)), D: ((0, 1), (1, 1))})
    assert more_decode != more_prefill


def test_idle_gpus_of_two_instances_gather_in_a_group():
    found = steps(gatherings, State(RENTED, ()))
    assert Group(((0, 4), (2, 4)), D) in [group for one in found for group in one.groups]
    assert all(4 not in group.instances for one in found for group in one.groups)
