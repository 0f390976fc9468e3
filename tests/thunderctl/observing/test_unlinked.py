"""A router elsewhere that no link leads to: what is seen of it, and that `up` links it again."""

from dataclasses import replace

from planner.deployment import Codec
from planner.document import plan_from_json, plan_to_json
from runtime.messages import ReplicaAddress, Routes, RouteShare
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import view
from thunderctl.observing.observe import Observation, fleet_state
from thunderctl.status.status import status_document
from thunderctl.store.values import Deployment, DeploymentState

PLAN = plan_from_json(plan_to_json(split_plan()))
ADDRESSES = tuple(ReplicaAddress(one.id, one.phase, "http://x") for one in PLAN.replicas)
SEEN = Observation(
    tuple(view(name) for name in ("i0", "i1", "i2")),
    Routes(7, "m", ADDRESSES, (RouteShare("r0", "r1", 1.0, Codec.RAW),), PLAN.plan_id),
    "",
)
UNLINKED = replace(SEEN, unlinked=True)


def test_its_routes_are_put_in_force_again_which_links_it():
    linked, unlinked = (fleet_state(seen, PLAN, {}, PLAN) for seen in (SEEN, UNLINKED))
    assert (linked.epoch, linked.routes) == (7, PLAN.routes)
    assert (unlinked.epoch, unlinked.routes, unlinked.phases) == (0, (), {})


def test_status_says_so_and_shows_the_routes_and_where_clients_find_it():
    deployment = Deployment("d", DeploymentState.SERVING, endpoint="http://office/v1", budget_usd_per_hour=5.0)
    shown = status_document(deployment, PLAN, UNLINKED, 0.0)
    assert (shown["state"], shown["endpoint"], shown["epoch"]) == ("degraded", "http://office/v1", 7)
    assert len(shown["routes"]) == 1
    assert any("No link leads to the router" in alert for alert in shown["alerts"])
    assert not any("not running" in alert for alert in shown["alerts"])
    assert status_document(deployment, PLAN, SEEN, 0.0)["endpoint"] == ""
