"""Passes in a pipeline: how long each goes, alone and in runs."""

from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.pipeline import Pipeline

runs = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.0, 1.0, 2.0, 3.0])), max_size=12)


def played(pp, wanted, most):
    """The interval of every pass, of which at most so many go of a plan; and how many plans those were."""
    pipeline, found, plans = Pipeline(pp), [], 0
    for passes, own_s in wanted:
        while passes:
            planned, interval_s = pipeline.plan(passes, own_s)
            went = min(planned, most)
            pipeline.go(went)
            found += [interval_s] * went
            passes, plans = passes - went, plans + 1
    return found, plans


@given(st.integers(1, 5), runs, st.integers(2, 20))
def test_passes_that_are_planned_together_take_as_long_as_one_by_one(pp, wanted, most):
    assert played(pp, wanted, most)[0] == played(pp, wanted, 1)[0]


def test_a_pass_behind_longer_ones_waits_for_the_longest_of_those_under_way():
    assert played(3, [(1, 3.0), (1, 1.0), (1, 2.0), (3, 1.0)], 1)[0] == [3.0, 3.0, 3.0, 2.0, 2.0, 1.0]


def test_passes_behind_a_longer_one_are_one_plan_until_it_comes_out():
    assert played(4, [(1, 3.0), (10, 1.0)], 20) == ([3.0] * 4 + [1.0] * 7, 3)


def test_a_pass_that_is_longer_than_all_under_way_goes_at_its_own_pace():
    assert played(4, [(5, 1.0), (5, 2.0)], 20) == ([1.0] * 5 + [2.0] * 5, 2)


def test_whoever_enters_a_drained_pipeline_waits_for_nobody():
    pipeline = Pipeline(3)
    pipeline.plan(1, 5.0)
    pipeline.go(1)
    pipeline.drain()
    assert pipeline.plan(4, 1.0) == (4, 1.0)
