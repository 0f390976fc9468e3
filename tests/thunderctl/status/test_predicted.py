"""What `status` shows as predicted, and as met, of the routes in force."""

from dataclasses import replace

import pytest

from planner.deployment import Codec, Phase
from runtime.messages import ReplicaAddress, Routes, RouteShare
from tests.planner.plans import split_plan
from tests.thunderctl.tui.worlds import serving
from thunderctl.cli.tables.status import latency_rows
from thunderctl.observing.observe import Observation
from thunderctl.status.predicted import FIGURES, predicted_entry
from thunderctl.status.status import status_document
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.web.drawing import Viewer, sections
from thunderctl.web.seen import Seen

PLAN = split_plan()
DEPLOYMENT = Deployment("d", DeploymentState.SERVING, budget_usd_per_hour=5.0)


def routes(**changed) -> Routes:
    addresses = tuple(ReplicaAddress(one.id, one.phase, "http://x") for one in PLAN.replicas)
    shares = tuple(RouteShare(one.prefill, one.decode, one.share, one.codec) for one in PLAN.routes)
    return replace(Routes(1, "m", addresses, shares, PLAN.plan_id), **changed)


@pytest.mark.parametrize("known", [None, routes(), routes(plan_id="")])
def test_of_the_plans_own_routes_its_figures_are_shown(known):
    entry = predicted_entry(PLAN, known)
    assert (entry["goodput_rps"], entry["slo_attainment"], entry["reason"]) == (3.0, 0.93, "")


def test_without_a_replica_nothing_was_simulated():
    alone = RouteShare("r2", "r2", 1.0, Codec.LOCAL)
    left = routes(replicas=routes().replicas[1:], routes=(alone,))
    entry = predicted_entry(PLAN, left)
    assert {entry[key] for key in FIGURES} == {None}
    assert entry["reason"] == "not simulated without r0"


def test_other_phases_or_pairs_are_not_the_plans():
    mixed = tuple(replace(one, phase=Phase.MIXED) for one in routes().replicas)
    for other in (routes(replicas=mixed), routes(routes=(RouteShare("r2", "r2", 1.0, Codec.LOCAL),))):
        assert predicted_entry(PLAN, other)["reason"] == "not simulated: routes in force are not the plan's"


def test_routes_of_another_plan_are_said_to_be():
    reason = predicted_entry(PLAN, routes(plan_id="other"))["reason"]
    assert reason == "not simulated: routes in force are of plan other"


def unsimulated() -> dict:
    status = serving()
    status["predicted"] |= {**dict.fromkeys(FIGURES), "reason": "not simulated without r0"}
    return status


def test_the_page_has_the_reason():
    page = sections(Seen(unsimulated(), (), (), ()), Viewer())
    assert "the targets are met. Not simulated without r0.</p>" in page
    assert "Not simulated" not in sections(Seen(serving(), (), (), ()), Viewer())


def test_the_table_has_dashes_and_the_reason():
    status = unsimulated()
    rows = {name: will for name, _, will in latency_rows(status)[1]}
    assert (rows["requests/s"], rows["attainment"], rows[""]) == ("-", "-", "not simulated without r0")


@pytest.mark.parametrize(
    ("traffic", "met"),
    [
        ({}, None),
        ({"ttft_so_far_s": [0.5]}, None),  # it may be in time yet
        ({"ttft_so_far_s": [0.5, 2.5, 9.0]}, 0.0),
        ({"latencies": [[0.5, 0.01]], "ttft_so_far_s": [0.5, 2.5, 9.0]}, 1 / 3),
        ({"latencies": [[0.5, 0.01], [0.5, 0.9]], "failed": 1, "ttft_so_far_s": [9.0]}, 1 / 4),
    ],
)
def test_who_waits_longer_than_the_target_has_missed_it(traffic, met):
    seen = Observation((), None, "", traffic)
    assert status_document(DEPLOYMENT, PLAN, seen, 0.0)["observed"]["slo_attainment"] == met
