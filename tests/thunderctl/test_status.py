"""What `status` says of the controller, and whose alerts it shows."""

from planner.document import plan_from_json, plan_to_json
from runtime.messages import Routes, RouteShare
from tests.planner.plans import split_plan
from tests.thunderctl.observing import view
from thunderctl.cli.status_tables import controller_line
from thunderctl.controller.report import LATE_S, ControllerReport, read_report
from thunderctl.observe import InstanceView, Observation
from thunderctl.status import status_document
from thunderctl.store.values import Deployment, DeploymentState

PLAN = plan_from_json(plan_to_json(split_plan()))
DEPLOYMENT = Deployment("d", DeploymentState.SERVING, budget_usd_per_hour=5.0)


def report(age_s=1.0, **known):
    import time

    return ControllerReport.mine(since=time.time() - 100, ticked_at=time.time() - age_s, **known)


def document(controller, *views, routed=True, warnings=()):
    from planner.deployment import Codec
    from runtime.messages import ReplicaAddress

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
    shown = document(report(waits_for="Deployment d is being changed by ann: up."))
    line = controller_line(shown["controller"])
    assert line.startswith("controller running since 20")
    assert "being changed by ann" in line
    assert controller_line({"state": "stopped"}) == ""


def test_a_plan_that_serves_without_a_machine_says_so_and_how_it_is_tried_again():
    alerts = document(report(), view("i0"), view("i1"))["alerts"]
    assert alerts == ["No machine for i2: it serves without. Run `thunderctl up` to try again."]
