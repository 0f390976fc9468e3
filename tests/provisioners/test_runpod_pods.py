"""What counts as a whole listing of RunPod's, and what does not; what is known of a pod."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioners.runpod.pods import DISK_USD_PER_GB_HOUR, listing, machine_of
from tests.provisioners.fakes import FakeClock
from tests.provisioners.runpod_cloud import ADDRESS, RunPodCloud
from tests.provisioners.runpod_world import request, runpod_world

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["ports", "x"]), inner, max_size=2),
    max_leaves=4,
)


def row(name: str = "thunder:o:d:l", **changes):
    cloud = RunPodCloud(FakeClock())
    return cloud.row(cloud.pods[cloud.put_foreign(name)]) | changes


@pytest.fixture
def world():
    with runpod_world() as made:
        yield made


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("410", "410"),
        ("429", "429"),
        ("500", "500"),
        ("schema", "no list of pods"),
        ("text", "no list of pods"),
        ("cut", "no list of pods"),
        ("null fields", "2 pods have no id"),
    ],
)
async def test_a_listing_that_is_not_whole_says_so(world, fault, reason):
    world.cloud.put_foreign()
    world.cloud.put_foreign()
    world.cloud.spoil("list", fault)
    found = await world.provisioner().observe()
    assert (found.complete, found.machines) == (False, ())
    assert reason in found.reason


async def test_an_empty_list_is_complete_and_left_to_be_judged_by_who_knows_what_runs(world):
    world.cloud.put_foreign()
    world.cloud.spoil("list", "empty")
    found = await world.provisioner().observe()
    assert (found.complete, found.machines) == (True, ())


@pytest.mark.parametrize(
    ("name", "changes", "complete"),
    [
        ("my notebook", {"cost": None}, True),
        ("my notebook", {"disk": "large"}, True),
        ("thunder:o:d:l", {"cost": None}, False),
        ("thunder:o:d:l", {"cost": float("nan")}, False),
        ("thunder:o:d:l", {"disk": float("inf")}, False),
        ("thunder:o:d:l", {"cost": -1}, False),
        ("thunder:o:d:l", {"id": 7}, False),
    ],
)
def test_a_pod_of_ours_without_a_price_is_not_believed_and_a_strangers_is(name, changes, complete):
    assert listing({"pods": [row(name, **changes)]}).complete is complete


def test_pods_that_are_terminated_bill_no_more_and_are_left_out():
    found = listing({"pods": [row(status="TERMINATED", cost=0.0), row("other")]})
    assert found.complete
    assert [machine.label for machine in found.machines] == ["other"]


@pytest.mark.parametrize(
    ("status", "problem"),
    [("RUNNING", ""), ("STARTING", ""), ("HIBERNATING", ""), ("EXITED", "its disk is wiped"), ("ERROR", "final")],
)
def test_only_what_is_known_to_be_final_is_a_problem(status, problem):
    machine = machine_of(row(status=status))
    assert machine is not None
    assert problem in machine.problem
    assert bool(machine.problem) is bool(problem)


def test_the_disk_costs_while_the_gpus_do():
    assert machine_of(row(cost=0.4, disk=100)).usd_per_hour == pytest.approx(0.4 + 100 * DISK_USD_PER_GB_HOUR)
    assert machine_of(row(cost=0.0, status="EXITED")).usd_per_hour == 0.0


async def test_where_it_is_reached_is_known_once_it_has_booted(world):
    world.cloud.boot_s = 300.0
    provisioner = world.provisioner()
    [offer, *_] = await provisioner.offers()
    await provisioner.lease(request(offer))
    [early] = (await provisioner.observe()).machines
    assert (early.state, early.address, dict(early.ports), early.ssh) == ("PROVISIONING", "", {}, None)
    world.clock.at += 300
    [booted] = (await provisioner.observe()).machines
    assert (booted.state, booted.address, dict(booted.ports)) == ("RUNNING", ADDRESS, {22: 40_000, 8443: 40_001})
    assert booted.ssh == (ADDRESS, 40_000)


def test_a_pod_without_the_agents_port_is_in_trouble():
    ports = [{"private": inner, "public": 40_000 + inner, "type": "tcp", "ip": ADDRESS} for inner in (22, 8443)]
    whole, partly, early = (machine_of(row(runtime={"ports": ports[:count]})) for count in (2, 1, 0))
    assert (whole.trouble, early.trouble) == ("", "")
    assert (partly.address, partly.trouble) == (ADDRESS, "its port 8443 is not mapped")


@given(changes=st.dictionaries(st.sampled_from(sorted(row())), JSON, max_size=4))
def test_no_row_however_strange_breaks_a_listing(changes):
    strange = row(**changes)
    found = listing({"pods": [strange, row("other")]})
    assert found.complete == (machine_of(strange) is not None)
    assert found.machines[-1].label == "other"


@given(JSON)
def test_no_body_however_strange_is_taken_for_an_empty_account(body):
    assert listing(body).complete is (isinstance(body, dict) and body.get("pods") == [])


def test_a_terminated_pod_is_named_as_ended_and_the_listing_is_not_empty():
    found = listing({"pods": [row(id="p1", status="TERMINATED")]})
    assert (found.complete, found.machines, found.ended, found.shows_something) == (True, (), frozenset({"p1"}), True)
