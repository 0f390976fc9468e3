"""A step taken again is the same step elsewhere, as long as there is an elsewhere."""

from planner.deployment import Phase
from planner.search.again import again
from planner.search.moves import View
from planner.search.score import Scorer
from planner.search.state import Group, State, Step, canonical, inside
from tests.planner.search.searching import offer, scorer

P, D = Phase.PREFILL, Phase.DECODE


def of_copies(copies: int) -> Scorer:
    return scorer(offer("a", gpus=2, available=copies))


def repeated(of: Scorer, state: State, step: Step) -> list[State]:
    """Every state that taking the step again and again leads through."""
    found = [state, state.after(step)]
    while following := again(View(of.supply, found[-2]), step, View(of.supply, found[-1])):
        step = following
        found.append(found[-1].after(step))
    return found


def test_a_flip_goes_through_all_groups_alike():
    of = of_copies(4)
    state = State((0,) * 4, tuple(inside(i, 2, P) for i in range(4)))
    found = repeated(of, state, Step((0,), (inside(0, 2, D),)))
    assert [sum(group.phase is D for group in one.groups) for one in found] == [0, 1, 2, 3, 4]


def test_a_merge_over_two_instances_takes_two_others_each_time():
    of = of_copies(6)
    state = State((0,) * 6, tuple(inside(i, 2, D) for i in range(6)))
    *_, last = repeated(of, state, Step((0, 1), (Group(((0, 2), (1, 2)), D),)))
    assert sorted(i for group in last.groups for i in group.instances) == [0, 1, 2, 3, 4, 5]
    assert [len(group.cuts) for group in last.groups] == [2, 2, 2]


def test_idle_gpus_of_other_instances_are_found_as_well():
    of = of_copies(3)
    first = Step((), (inside(0, 2, P),))
    *_, last = repeated(of, State((0,) * 3, ()), first)
    assert canonical(of.supply, last) == canonical(of.supply, State((0,) * 3, tuple(inside(i, 2, P) for i in range(3))))


def test_groups_of_one_instance_stay_together():
    """Both groups of the step are on one instance: two that look like them, but lie apart, will not do."""
    of = of_copies(4)
    both = [inside(0, 1, P), inside(0, 1, D), inside(1, 1, P), inside(1, 1, D)]
    state = State((0,) * 4, (*both, inside(2, 1, P), inside(3, 1, D)))
    found = repeated(of, state, Step((0, 1), (inside(0, 2, D),)))
    assert len(found) == 3
    assert found[-1].groups == (inside(2, 1, P), inside(3, 1, D), inside(0, 2, D), inside(1, 2, D))


def test_as_many_are_rented_as_there_are():
    of = scorer(offer("a", gpus=2, available=3), rent_all=False)
    *_, last = repeated(of, State((), ()), Step((), (inside(0, 2, P),), (), (0,)))
    assert last == State((0, 0, 0), tuple(inside(i, 2, P) for i in range(3)))
