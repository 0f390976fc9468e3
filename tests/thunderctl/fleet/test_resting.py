"""What rests, as the store and the status document have it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from planner.deployment import Codec
from planner.reconcile import FleetState, RunningInstance, StepKind, reconcile
from runtime.messages import AgentHealth, EngineHealth, ReplicaAddress, Routes, RouteShare
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import view
from thunderctl.fleet.resting import Rest, RestCause, Resting, but_for, replicas_at_rest, resting_entries, resting_line
from thunderctl.observing.observe import InstanceView, Observation
from thunderctl.status.status import status_document
from thunderctl.store.values import Deployment, DeploymentState

PLAN = split_plan()
NIGHT = Rest("o1", RestCause.WINDOW, "a smaller budget", 100.0, 1_790_000_000.0)
RESTING = Resting({"i1": NIGHT}, {"i2": "the budget has room"}, 100.0)


def test_it_is_read_back_as_it_was_written():
    assert Resting.from_json(json.loads(json.dumps(RESTING.to_json()))) == RESTING
    assert Resting.from_json({}) == Resting()
    assert Resting().to_json() == {}


def test_a_cause_of_another_version_counts_as_one_for_the_rate():
    document = RESTING.to_json()
    document["instances"]["i1"]["cause"] = "weather"
    assert Resting.from_json(document).instances["i1"].cause is RestCause.RATE


def test_an_instance_that_is_of_another_offer_by_now_does_not_rest():
    assert RESTING.of(PLAN) == {"i1"}
    assert Resting({"i1": Rest("another", RestCause.RATE, "", 0.0)}).of(PLAN) == frozenset()


def test_people_read_who_rests_why_and_until_when():
    both = Resting({"i1": NIGHT, "i2": Rest("o2", RestCause.WINDOW, "", 0.0, NIGHT.until)})
    assert resting_line(resting_entries(both, PLAN)) == "resting: i1, i2 (smaller budget until 2026-09-21 14:13 UTC)"
    few = Resting({"i0": Rest("o0", RestCause.RATE, "", 0.0)})
    assert resting_line(resting_entries(few, PLAN)) == "resting: i0 (few requests)"
    assert resting_line([]) == ""


def test_a_rest_that_ends_on_another_day_says_which_and_one_of_a_newer_controller_its_reason():
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    entry = {"instance": "i1", "cause": "eclipse", "reason": "no sun", "until": tomorrow.timestamp()}
    assert resting_line([entry]) == f"resting: i1 (no sun until {tomorrow:%Y-%m-%d %H:%M} UTC)"
    now = datetime.now(UTC)
    assert resting_line([{**entry, "until": now.timestamp()}]) == f"resting: i1 (no sun until {now:%H:%M} UTC)"


def test_what_rests_is_not_leased_not_started_and_not_routed_for():
    running = FleetState((RunningInstance("l0", "i0", "o0", prepared=True, ready=True),))
    steps = but_for(reconcile(PLAN, running), PLAN, {"i1", "i2"})
    assert [(step.what, step.id) for step in steps] == [
        (StepKind.START, "r0"),
        (StepKind.START, "r1"),
        (StepKind.ROUTE, "routes"),
    ]
    assert but_for(reconcile(PLAN, running), PLAN, ()) == reconcile(PLAN, running)
    at_rest = but_for(reconcile(PLAN, running), PLAN, {"i0", "i1", "i2"})
    assert at_rest == (), "routes follow what is done, and nothing is"
    assert replicas_at_rest(PLAN, {"i2"}) == {"r2"}


def test_a_fleet_of_which_some_rests_serves_and_is_not_called_degraded():
    rests = Resting({name: Rest(f"o{name[1]}", RestCause.RATE, "few come", 0.0) for name in ("i1", "i2")})
    ready = (EngineHealth("r0", "ready"), EngineHealth("r1", "ready"))
    addresses = tuple(ReplicaAddress(name, PLAN.replica(name).phase, "http://x") for name in ("r0", "r1"))
    seen = Observation(
        (InstanceView(view("i0").lease, health=AgentHealth("i0", "1", engines=ready)),),
        Routes(1, "m", addresses, (RouteShare("r0", "r1", 1.0, Codec.RAW),)),
        "http://x",
    )
    deployment = Deployment("d", DeploymentState.SERVING, budget_usd_per_hour=5.0)
    small = status_document(replace(deployment, resting=rests.to_json()), PLAN, seen, 0.0)
    assert small["state"] == "serving"
    assert [one["instance"] for one in small["resting"]] == ["i1", "i2"]
    assert small["awaited"] == []
    assert not any("No machine for" in alert for alert in small["alerts"])
    whole = status_document(deployment, PLAN, seen, 0.0)
    assert whole["state"] == "degraded"
    assert [one["id"] for one in whole["awaited"]] == ["i1", "i2"]
