"""What is simulated through a failure: the plan that follows it names the lost replica, and windows count arrivals."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import through_failure
from planner.deployment import Phase
from tests.planner.plans import split_plan

PLAN = split_plan()


def test_the_plan_after_a_loss_names_the_replica_that_is_lost_and_changes_the_others():
    first, *others = PLAN.replicas
    anew = replace(PLAN, replicas=tuple(replace(one, phase=Phase.MIXED) for one in others))
    found = through_failure.with_lost(anew, PLAN)
    assert [one.id for one in found.replicas] == [one.id for one in PLAN.replicas]
    assert found.replicas[0] == first
    assert {one.phase for one in found.replicas[1:]} == {Phase.MIXED}
    assert found.routes == anew.routes


def test_attainment_is_of_all_runs_arrivals_together(monkeypatch):
    runs = [(np.array([1, 0]), np.array([2, 0])), (np.array([2, 0]), np.array([2, 0]))]
    monkeypatch.setattr(through_failure, "_runs", lambda *_: iter(runs))
    assert through_failure.attained(PLAN, ()) == pytest.approx([0.75, 0.0])
