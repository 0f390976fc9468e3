"""Round trips of a router that is away from the machines, in the TTFT of plans."""

from dataclasses import replace

import numpy as np
import pytest

from planner.catalog import Link
from planner.document import plan_from_json, plan_to_json
from planner.links import check_links, links_from_csv
from planner.procurement.placing import instance_of
from planner.replay import replay
from planner.router import router_notes, seen_from_router
from planner.simulation.scenario import Requests
from tests.planner.plans import split_plan

ONE_BY_ONE = Requests(np.arange(8) * 100.0, np.full(8, 100.0), np.full(8, 5.0))


def at(plan, **router_ms):
    return replace(plan, instances=tuple(replace(one, router_ms=router_ms.get(one.id, 0.0)) for one in plan.instances))


def test_a_route_waits_for_a_round_trip_to_each_replica_and_one_that_prefills_itself_for_one():
    near, far = (replay(plan, ONE_BY_ONE, seed=1) for plan in (split_plan(), at(split_plan(), i0=100.0, i1=40.0)))
    late = far.timings.first_s - near.timings.first_s
    itself = near.timings.prefill == near.timings.decode
    assert set(itself.tolist()) == {True, False}
    assert late[~itself] == pytest.approx(0.2)  # both replicas are on i0
    assert late[itself] == pytest.approx(0.04)  # its first stage is on i1
    assert far.timings.last_s - near.timings.last_s == pytest.approx(late)
    assert far.measures.tpot_p50_s == pytest.approx(near.measures.tpot_p50_s)


def test_stated_ways_come_before_guesses_and_one_way_stands_for_both(offer):
    stated = links_from_csv("from,to,bandwidth_gbit_per_s,latency_ms\nrouter,a,1,5\nb,router,1,7\nrouter,b,1,9\n", "l")
    offers = [offer("a"), offer("b"), offer("c"), offer("own", provider="ssh"), offer("here", provider="local")]
    assert [one.router_ms for one in seen_from_router(offers, stated, away=True)] == [10.0, 16.0, 160.0, 4.0, 0.0]
    assert [one.router_ms for one in seen_from_router(offers, stated, away=False)] == [10.0, 16.0, 0.0, 0.0, 0.0]
    check_links(stated, ["a", "b"])


def test_the_plan_keeps_it_and_says_so(offer):
    (far,) = seen_from_router([offer("a")], {("router", "a"): Link(1.0, 20.0)}, away=False)
    plan = split_plan()
    held = replace(instance_of(far, "i0", plan.llm), gpu_count=2)
    assert held.router_ms == 40.0
    assert "i0 40 ms" in router_notes([held])[0]
    assert router_notes(plan.instances) == ()
    whole = replace(plan, instances=(held, *plan.instances[1:]))
    assert plan_from_json(plan_to_json(whole)) == whole


def test_a_plan_of_before_has_none():
    document = plan_to_json(split_plan())
    for instance in document["instances"]:
        del instance["router_ms"]
    assert plan_from_json(document) == split_plan()
