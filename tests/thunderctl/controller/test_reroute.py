"""Routes over the survivors."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec, Phase
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.plans import split_plan
from tests.planner.search.fleets import plan_of
from thunderctl.controller import reroute
from thunderctl.controller.reroute import MOST_CONFIRMED, left_of, plan_over
from thunderctl.deploying.routing import shares_of

PLAN = split_plan()
WORKLOAD = workload_named("conversation")
NAMES = ("r0", "r1", "r2")


def test_over_all_replicas_it_is_the_plan_itself():
    assert plan_over(PLAN, NAMES, WORKLOAD) == (PLAN, "as planned")


def test_whoever_lost_their_other_half_serves_alone():
    found, how = plan_over(PLAN, ("r0", "r2"), WORKLOAD)
    assert {one.id for one in found.replicas} == {"r0", "r2"}
    assert {(route.prefill, route.decode) for route in found.routes} == {("r0", "r0"), ("r2", "r2")}
    assert how.startswith("rebalanced in")


def test_where_the_search_finds_nothing_what_is_left_serves(monkeypatch):
    from planner.errors import Infeasible

    def nothing(*_, **__):
        raise Infeasible("No plan meets the targets.")

    monkeypatch.setattr(reroute, "rebalance", nothing)
    found, how = plan_over(PLAN, ("r0", "r1"), WORKLOAD)
    assert [(route.prefill, route.decode, route.share) for route in found.routes] == [("r0", "r1", 1.0)]
    assert "No plan meets the targets" in how


@given(st.sets(st.sampled_from(NAMES), min_size=1, max_size=2))
def test_what_is_left_can_be_routed_whatever_is_lost(lost):
    found = left_of(PLAN, lost)
    assert sum(route.share for route in found.routes) == pytest.approx(1.0)
    phases = {one.id: one.phase for one in found.replicas}
    assert phases.keys() == set(NAMES) - lost
    assert all(phases[route.decode].decodes for route in found.routes)
    assert all(route.codec is Codec.LOCAL for route in found.routes if route.prefill == route.decode)
    assert len(shares_of(found)) == len(found.routes)


def test_a_prefill_replica_that_is_left_alone_decodes_as_well():
    found = left_of(PLAN, ["r1", "r2"])
    assert [one.phase for one in found.replicas] == [Phase.MIXED]


@pytest.mark.parametrize("count", [MOST_CONFIRMED + 1, 30, 38])
def test_over_what_is_left_of_a_fleet_routes_are_decided_and_nobody_waits_for_simulations(monkeypatch, count):
    def simulates(*_given, **_known):
        raise AssertionError("it was simulated")

    monkeypatch.setattr("planner.choosing.search.simulated_goodput", simulates)
    large = replace(plan_of([("L40S", (1,))] * (count + 2), gbit_per_s=5.0), slo=Slo(2.0, 0.06))
    left = [one.id for one in large.replicas[2:]]
    found, how = plan_over(large, left, WORKLOAD)
    assert [one.id for one in found.replicas] == left
    assert sum(route.share for route in found.routes) == pytest.approx(1.0)
    assert how.startswith("decided in")
