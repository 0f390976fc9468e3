"""What `status` says of the controller, and whose alerts it shows."""

from dataclasses import replace

import pytest

from planner.deployment import Codec
from planner.document import plan_from_json, plan_to_json
from runtime.messages import ReplicaAddress, Routes, RouteShare
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import heard, view
from tests.thunderctl.tui.worlds import serving
from thunderctl.cli.tables.status import controller_line
from thunderctl.controller.report import LATE_S, ControllerReport, read_report
from thunderctl.money.ending import ending_of
from thunderctl.money.spending import Spending
from thunderctl.observing.observe import InstanceView, Observation
from thunderctl.status.status import status_document
from thunderctl.store.values import Deployment, DeploymentState

PLAN = plan_from_json(plan_to_json(split_plan()))
DEPLOYMENT = Deployment("d", DeploymentState.SERVING, budget_usd_per_hour=5.0)


def report(age_s=1.0, **known):
    import time

    return ControllerReport.mine(since=time.time() - 100, ticked_at=time.time() - age_s, **known)


def document(controller, *views, routed=True, warnings=()):
    addresses = tuple(ReplicaAddress(one.id, one.phase, "http://x") for one in PLAN.replicas)
    routes = Routes(1, "m", addresses, (RouteShare("r0", "r1", 1.0, Codec.RAW),)) if routed else None
    seen = Observation(views or tuple(view(name) for name in ("i0", "i1", "i2")), routes, "http://here/v1")
    return status_document(DEPLOYMENT, PLAN, seen, 0.0, warnings, controller)


def test_a_controller_that_runs_is_shown_with_its_alerts_and_not_what_it_says_already():
    silent = InstanceView(view("i0").lease, problem="no answer")
    shown = document(report(alerts=("r0 can't serve.",)), silent, view("i1"), view("i2"), warnings=("The lease ends.",))
    assert shown["controller"]["state"] == "running"
    assert shown["alerts"] == ["r0 can't serve."]


def test_without_a_controller_what_is_seen_now_is_said_and_that_there_is_none():
    silent = InstanceView(view("i0").lease, problem="no answer")
    shown = document(None, silent, view("i1"), view("i2"), warnings=("The lease ends.",))
    assert shown["controller"] == {"state": "stopped"}
    assert "Instance i0: no answer." in shown["alerts"]
    assert "The lease ends." in shown["alerts"]
    assert any("No controller runs" in alert for alert in shown["alerts"])


def test_a_controller_that_hangs_is_said_and_not_believed():
    shown = document(report(age_s=LATE_S + 5, alerts=("old news",)))
    assert shown["controller"]["state"] == "late"
    assert "old news" not in shown["alerts"]
    assert any("hangs" in alert for alert in shown["alerts"])


def test_before_there_are_routes_both_speak():
    silent = InstanceView(view("i0").lease, problem="no answer")
    shown = document(report(alerts=("What vast has is not known.",)), silent, routed=False)
    assert {"What vast has is not known.", "Instance i0: no answer."} <= set(shown["alerts"])


def test_a_report_is_read_as_it_was_written(tmp_path):
    written = report(alerts=("one", "two"), waits_for="up")
    written.write(tmp_path)
    assert read_report(tmp_path) == written
    (tmp_path / "controller.json").write_text('{"pid": 1}')
    assert read_report(tmp_path) is None
    (tmp_path / "controller.json").write_text("[1]")
    assert read_report(tmp_path) is None


def test_the_frame_says_since_when_it_runs_and_what_it_waits_for():
    shown = document(report(waits_for="Deployment d is being changed by ann: up.", api="http://127.0.0.1:8100"))
    line = controller_line(shown["controller"])
    assert line.startswith("controller running since 20")
    assert "being changed by ann" in line
    assert line.endswith("http://127.0.0.1:8100")
    assert controller_line({"state": "stopped"}) == ""


def test_a_plan_that_serves_without_a_machine_says_so_and_how_it_is_tried_again():
    alerts = document(report(), view("i0"), view("i1"))["alerts"]
    assert alerts == ["No machine for i2: it serves without. Run `thunderctl up` to try again."]


def test_a_route_has_what_was_measured_of_the_slowest_of_its_ways_and_what_was_planned():
    views = (view("i0"), view("i1", heard("i0", 4.0)), view("i2", heard("i0", 2.5), heard("i1", 9.0)))
    seen = Observation(
        views, routes_of(RouteShare("r0", "r2", 0.5, Codec.INT4), RouteShare("r2", "r2", 0.5, Codec.LOCAL)), ""
    )
    across, local = status_document(DEPLOYMENT, PLAN, seen, 0.0)["routes"]
    assert (across["measured_gbit_per_s"], across["planned_gbit_per_s"]) == (2.5, None)
    assert (local["measured_gbit_per_s"], local["codec"]) == (None, "local")
    planned = Observation(views, routes_of(RouteShare("r0", "r1", 1.0, Codec.RAW)), "")
    assert status_document(DEPLOYMENT, PLAN, planned, 0.0)["routes"][0]["planned_gbit_per_s"] == 64.0


def test_ways_that_were_last_heard_from_long_ago_are_not_measured():
    views = (view("i0"), view("i1", heard("i0", 4.0, age_s=9000.0)), view("i2"))
    seen = Observation(views, routes_of(RouteShare("r0", "r2", 1.0, Codec.INT4)), "")
    assert status_document(DEPLOYMENT, PLAN, seen, 0.0)["routes"][0]["measured_gbit_per_s"] is None


def test_a_replica_has_the_most_it_holds_as_the_router_was_told_it():
    seen = Observation((view("i0"),), routes_of(RouteShare("r0", "r1", 1.0, Codec.RAW), most=24), "")
    found = {one["id"]: one["max_requests"] for one in status_document(DEPLOYMENT, PLAN, seen, 0.0)["replicas"]}
    assert found == {"r0": 24, "r1": 24, "r2": 24}
    unsaid = Observation((view("i0"),), routes_of(RouteShare("r0", "r1", 1.0, Codec.RAW)), "")
    assert status_document(DEPLOYMENT, PLAN, unsaid, 0.0)["replicas"][0]["max_requests"] is None


def test_machines_have_their_cards_and_those_not_leased_are_awaited():
    shown = document(report(), view("i0"))
    assert [(one["id"], one["gpu_count"], one["gpu"]) for one in shown["awaited"]] == [
        ("i1", 1, "A5000"),
        ("i2", 1, "A5000"),
    ]
    here = view("i0").lease
    known = InstanceView(replace(here, offer_id="o0"))
    assert (document(report(), known)["instances"][0]["gpu"], shown["instances"][0]["gpu"]) == ("A6000", "")


def test_it_ends_when_the_first_lease_does_or_when_the_money_is_spent():
    rows = (
        replace(view("i0").lease, sent_at=0.0, created_at=0.0, expires_at=7200.0),
        replace(view("i1").lease, lease_id="second", sent_at=0.0, created_at=0.0, expires_at=3600.0),
    )
    spending = Spending(rows, (), 1800.0)
    ending = ending_of(spending, 150.0)
    assert (ending.leases_end_at, ending.at) == (3600.0, 3600.0)
    assert ending.counted_usd == pytest.approx(1.0)
    entry = ending_of(spending, 1.5).entry(1800.0)
    assert entry["money_ends_at"] == pytest.approx(1800.0 + 900.0)
    assert (entry["at"], entry["left_s"]) == (entry["money_ends_at"], pytest.approx(900.0))
    nothing = ending_of(Spending((), (), 1800.0), 150.0)
    assert nothing.entry(1800.0)["left_s"] is None


def test_the_targets_are_the_plans():
    assert document(report())["slo"] == {"ttft_s": 2.0, "tpot_s": 0.15, "attainment": 0.9}


def test_the_screens_documents_by_hand_have_the_keys_of_the_real_one():
    """So that what is tested and pictured is what `status --json` prints."""
    real = document(report(), view("i0", heard("i1")), view("i1"))
    by_hand = serving()
    assert set(by_hand) <= set(real)
    for key in ("instances", "replicas", "routes"):
        assert set(by_hand[key][0]) <= set(real[key][0]), key


def routes_of(*shares, most=0):
    addresses = tuple(ReplicaAddress(one.id, one.phase, "http://x", max_requests=most) for one in PLAN.replicas)
    return Routes(1, "m", addresses, shares)
