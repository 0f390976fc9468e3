"""What a plan says of instances that can be taken back."""

from dataclasses import replace

import pytest

from planner.advice.interruptions import interruptible_share, interruptions_in_words, lost_share
from planner.advice.robustness import as_candidate
from planner.choosing.candidate import Candidate


def taken_back(plan, **availability: float) -> Candidate:
    """The plan with these instances interruptible, by how much of the time they are up."""
    instances = tuple(
        replace(one, interruptible=one.id in availability, availability=availability.get(one.id, 1.0))
        for one in plan.instances
    )
    return as_candidate(replace(plan, instances=instances), {})


def test_nothing_is_said_of_a_fleet_that_stays(split_plan):
    chosen = taken_back(split_plan)
    assert list(interruptions_in_words(chosen, 3.0)) == []
    assert lost_share(chosen) == 0


def test_of_a_replica_over_two_instances_all_is_lost_while_either_is_down(split_plan):
    """It serves a quarter of the requests."""
    chosen = taken_back(split_plan, i1=0.9, i2=0.8)
    assert interruptible_share(chosen) == pytest.approx(0.25)
    assert lost_share(chosen) == pytest.approx(0.25 * (1 - 0.9 * 0.8))


def test_of_a_pair_half_is_lost_with_either_end(split_plan):
    apart = replace(split_plan, routes=(replace(split_plan.routes[0], decode="r2"), split_plan.routes[1]))
    assert lost_share(taken_back(apart, i0=0.9)) == pytest.approx(0.75 * 0.1 / 2)
    assert interruptible_share(taken_back(apart, i0=0.9)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("availability", "words"),
    [
        ({"i0": 0.95}, "75% of its goodput takes instances that can be taken back. With these up 95% of the time, "),
        ({"i0": 0.95}, "which is a guess, 3.85 of the 4.00 requests/s are expected on average."),
        ({"i0": 0.5}, "up 50% of the time or more, as their offers state, 2.50 of the 4.00 "),
        ({"i0": 0.8, "i1": 0.95}, "up 80% to 95% of the time, the latter of which is a guess, "),
    ],
)
def test_the_plan_says_what_is_expected_of_it_and_what_of_that_is_a_guess(split_plan, availability, words):
    assert words in " ".join(interruptions_in_words(taken_back(split_plan, **availability), 4.0))
