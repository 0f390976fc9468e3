"""A fleet of hundreds as a few crowds: nothing is lost of its sums, and whom to look at is named."""

import pytest

from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import picture_plan
from thunderctl.fleet.attention import first_to_look_at, narrowed
from thunderctl.fleet.crowds import MOST_KINDS, crowds_of, is_crowded, machine_crowds


def test_a_small_fleet_is_no_crowd():
    assert not is_crowded(worlds.serving())
    assert not is_crowded(worlds.many(40))
    assert is_crowded(worlds.huge())


def test_crowds_add_up_to_all_replicas():
    document = worlds.huge()
    crowds = crowds_of(document)["replicas"]
    assert len(crowds) < 30
    assert sum(one["count"] for one in crowds) == len(document["replicas"])
    assert sorted(name for one in crowds for name in one["members"]) == sorted(
        one["id"] for one in document["replicas"]
    )
    for key in ("running", "waiting"):
        assert sum(one[key] for one in crowds) == sum(one[key] for one in document["replicas"])


def test_crowds_are_alike_in_phase_cards_and_layout():
    document = worlds.huge()
    gpus = {one["id"]: one["gpu"] for one in document["instances"]}
    replicas = {one["id"]: one for one in document["replicas"]}
    for crowd in crowds_of(document)["replicas"]:
        members = [replicas[name] for name in crowd["members"]]
        kinds = {(one["phase"], gpus[one["instances"][0]], one["tp"], one["pp"]) for one in members}
        assert len(kinds) == 1
        [(phase, gpu, tp, _)] = kinds
        assert crowd["id"] == f"{gpu} TP {tp} {phase}"


def test_routes_between_crowds_have_all_of_the_traffic():
    document = worlds.huge()
    routes = crowds_of(document)["routes"]
    assert len(routes) < 60
    assert sum(one["share"] for one in routes) == pytest.approx(sum(one["share"] for one in document["routes"]))
    assert sum(one["count"] for one in routes) == len(document["routes"])
    ids = {one["id"] for one in crowds_of(document)["replicas"]}
    assert all(one["prefill"] in ids and one["decode"] in ids for one in routes)


def test_a_crowd_of_which_not_all_are_ready_says_how_many_are():
    document = worlds.serving(
        instances=[worlds.machine("i0", "A40", 4, 1.0)],
        replicas=[worlds.replica(f"d{n}", "decode", ["i0"], 1, 8, 0.5) for n in range(4)],
        routes=[],
    )
    document["replicas"][2] |= {"state": "failed", "kv_usage": None, "running": None}
    [crowd] = crowds_of(document)["replicas"]
    assert (crowd["state"], crowd["ready"], crowd["running"], crowd["kv_usage"]) == ("3 of 4 ready", 3, 3, 0.5)


def test_however_many_kinds_there_are_crowds_are_few():
    document = worlds.huge()
    for n, one in enumerate(document["instances"]):
        one["gpu"] = f"GPU {n}"
    found = crowds_of(document)
    assert len(found["replicas"]) <= 3 * MOST_KINDS
    assert sum(one["count"] for one in found["replicas"]) == 500


def test_a_plan_has_crowds_as_well():
    plan = picture_plan("p", worlds.huge(), worlds.NOW)
    crowds = crowds_of(plan)["replicas"]
    assert sum(one["count"] for one in crowds) == 500
    assert all(one["ready"] == one["count"] for one in crowds)


def test_machines_alike_are_counted_with_their_price_and_states():
    document = worlds.huge()
    found = machine_crowds([*document["instances"], {**document["instances"][0], "state": "created"}])
    assert sum(one["count"] for one in found) == 501
    assert sum(one["usd_per_hour"] for one in found) == pytest.approx(document["cost_usd_per_hour"] + 1.84)
    assert [one["count"] for one in found] == sorted((one["count"] for one in found), reverse=True)
    assert sum(one["states"]["created"] for one in found) == 1
    assert sum(one["problems"] for one in found) == sum(bool(one["problem"]) for one in document["instances"])


def test_who_failed_is_looked_at_first_then_who_is_on_the_way_then_who_waits_then_who_is_full():
    replicas = [
        worlds.replica("empty", "decode", ["i0"], 0, 8, 0.0),
        worlds.replica("full", "decode", ["i0"], 8, 8, 0.97),
        worlds.replica("waits", "decode", ["i0"], 8, 8, 0.3, waiting=2),
        worlds.replica("starts", "decode", ["i0"], 0, 8, 0.0, state="starting"),
        worlds.replica("failed", "decode", ["i0"], 0, 8, 0.0, state="failed"),
        worlds.replica("odd", "decode", ["i0"], 0, 8, 0.0, state="a provider's own word"),
    ]
    names = [one["id"] for one in first_to_look_at(replicas)]
    assert names == ["failed", "odd", "starts", "waits", "full", "empty"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ("d1", {"d1", "p0", "p1"}),
        ("i3", {"p1", "d1", "d2"}),
        ("a10g", {"d2", "p1"}),
        ("mixed", {"m0"}),
        ("nothing of that kind", set()),
    ],
)
def test_what_is_asked_for_comes_with_those_it_serves_with(wanted, ids):
    assert {one["id"] for one in narrowed(worlds.serving(), wanted)["replicas"]} == ids


def test_with_a_replica_comes_its_machine():
    assert [one["id"] for one in narrowed(worlds.serving(), "d1")["instances"]] == ["i2"]
