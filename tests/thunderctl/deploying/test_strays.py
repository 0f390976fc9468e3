"""Machines that no lease stands for: where they are looked for, and how they are released."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import Incomplete, Refused
from provisioners.base import Label, Machine
from provisioners.leases.acquire import acquire
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.ledger import lease_spent_usd
from tests.provisioners.fakes import OWNER, SETTLE_S, SOMEBODY_ELSE, FakeClock, FakeCloud, instance, intent
from thunderctl.deploying import strays as gc
from thunderctl.spec.spec import parse_spec
from thunderctl.store.store import Store
from thunderctl.world import World

KEYS = [name for names in gc.KEYS.values() for name in names]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch, tmp_path):
    for name in (*KEYS, "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud(clock) -> FakeCloud:
    return FakeCloud(clock, provider="vast")


@pytest.fixture
def world(tmp_path, cloud, monkeypatch):
    """A deployment whose Vast.ai is the fake, with a key for it."""
    monkeypatch.setenv("VAST_API_KEY", "key")
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        made = World("d", store, tmp_path)
        made._provisioners["vast"] = cloud
        yield made


def put(cloud: FakeCloud, name: str, owner: str = OWNER, deployment: str = "d", age_s: float = 1e5) -> Machine:
    label = str(Label(owner, deployment, f"lease-{name}"))
    cloud.machines[name] = Machine(name, label, "running", 2.0, created_at=cloud.clock.at - age_s)
    return cloud.machines[name]


async def found(world: World, owner: str = OWNER) -> list[str]:
    looked = await gc.look_around(world)
    return [stray.machine.provider_id for stray in gc.strays_of(looked, world.store.leases(), owner)]


async def release(world: World, clock: FakeClock, owner: str = OWNER, patience_s: float = 600.0) -> None:
    looked = await gc.look_around(world)
    chosen = gc.strays_of(looked, world.store.leases(), owner)
    await gc.release_strays(world, chosen, owner, clock.pace(patience_s))


# Where to look.


def test_a_market_is_asked_where_there_is_a_key_a_lease_or_a_line_in_the_spec(world, monkeypatch, tmp_path):
    assert gc.providers_to_ask(world) == ("local", "ssh", "vast")
    monkeypatch.delenv("VAST_API_KEY")
    assert gc.providers_to_ask(world) == ("local", "ssh")
    world.written = parse_spec('[markets]\nproviders = ["runpod"]')
    assert gc.providers_to_ask(world) == ("local", "runpod", "ssh")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").touch()
    assert "aws" in gc.providers_to_ask(world)


async def test_a_provider_with_a_lease_is_asked_without_a_key_too(world, cloud, clock, monkeypatch):
    wanted = intent(instance(provider="vast"))
    row = await acquire(world.store, cloud, wanted, budget_usd_per_hour=9.0, now=clock)
    monkeypatch.delenv("VAST_API_KEY")
    assert "vast" in gc.providers_to_ask(world)
    world.store.update_lease(row.moved(LeaseState.GONE), was=row.state)
    assert "vast" not in gc.providers_to_ask(world)


async def test_a_provider_that_can_not_be_asked_is_named_with_the_reason(world, cloud):
    cloud.list_faults.append("failed")
    problems = {one.provider: one.problem for one in await gc.look_around(world)}
    assert problems == {"local": "", "ssh": "", "vast": "410 Gone"}


async def test_a_provider_that_hangs_is_named_and_holds_nobody_up(world, cloud, monkeypatch):
    async def hangs() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(gc, "ANSWER_S", 0.05)
    monkeypatch.setattr(cloud, "observe", hangs)
    problems = {one.provider: one.problem for one in await gc.look_around(world)}
    assert problems == {"local": "", "ssh": "", "vast": "it gave no answer within 0.05 s"}


async def test_a_key_of_another_account_than_the_leases_is_named(world, cloud, clock):
    await acquire(world.store, cloud, intent(instance(provider="vast")), budget_usd_per_hour=9.0, now=clock)
    cloud.machines.clear()
    cloud.billed = "B"
    problems = {one.provider: one.problem for one in await gc.look_around(world)}
    assert problems["vast"] == "this key is of account B; the leases of i0 are of account A"


async def test_strays_are_of_the_owner_that_is_asked_for(world, cloud):
    put(cloud, "ours")
    put(cloud, "theirs", SOMEBODY_ELSE)
    cloud.put_foreign("notebook", "my notebook")
    assert await found(world) == ["ours"]
    assert await found(world, SOMEBODY_ELSE) == ["theirs"]
    everybodys = gc.all_of_ours(await gc.look_around(world))
    assert [stray.machine.provider_id for stray in everybodys] == ["ours", "theirs"]


# Releasing.


async def test_strays_are_released_until_proven_gone_and_nothing_else_is_touched(world, cloud, clock):
    kept = await acquire(world.store, cloud, intent(instance(provider="vast")), budget_usd_per_hour=9.0, now=clock)
    put(cloud, "stray")
    put(cloud, "theirs", SOMEBODY_ELSE)
    cloud.release_faults.extend(["429", "500 before"])
    began = clock.at
    await release(world, clock)
    assert set(cloud.machines) == {kept.provider_id, "theirs"}
    assert set(cloud.touched) == {"stray"}
    assert clock.at - began >= SETTLE_S
    [row] = [row for row in world.store.leases() if row.provider_id == "stray"]
    assert (row.state, row.attempts) == (LeaseState.GONE, 3)
    assert lease_spent_usd(row, clock.at) > 2 * 1e5 / 3600  # since it was made


async def test_a_lost_store_loses_no_machine(world, cloud, clock, tmp_path):
    """Another store, another deployment's name, the old owner's id: the machines are found and released."""
    with Store(f"sqlite:///{tmp_path / 'lost.db'}") as lost:
        for name, deployment in (("i0", "d"), ("i1", "staging")):
            wanted = replace(intent(instance(name, provider="vast"), deployment), owner_id=SOMEBODY_ELSE)
            await acquire(lost, cloud, wanted, budget_usd_per_hour=9.0, now=clock)
    clock.at += 3600
    assert await found(world) == []
    await release(world, clock, SOMEBODY_ELSE)
    assert not cloud.machines
    assert {(row.deployment, row.state) for row in world.store.leases()} == {
        ("d", LeaseState.GONE),
        ("staging", LeaseState.GONE),
    }


async def test_a_machine_that_was_made_just_now_is_looked_at_again_before_it_is_released(world, cloud, clock):
    """It may be one whose row is on its way: here it gets one meanwhile."""
    put(cloud, "new", age_s=1.0)
    put(cloud, "unknown", age_s=cloud.clock.at)
    sleep = clock.sleep

    async def and_another_process_writes_its_row(seconds: float) -> None:
        await sleep(seconds)
        if not world.store.leases():
            row = sent_row(clock).moved(LeaseState.CREATED)
            world.store.add_lease(replace(row, label=cloud.machines["new"].label, provider_id="new"))

    pace = replace(clock.pace(), sleep=and_another_process_writes_its_row)
    looked = await gc.look_around(world)
    await gc.release_strays(world, gc.strays_of(looked, world.store.leases(), OWNER), OWNER, pace)
    assert cloud.touched == ["unknown"]


def sent_row(clock: FakeClock) -> LeaseRow:
    return LeaseRow(
        "l0", OWNER, "d", "p", "i0", "vast", "here", "offer", "label", 2.0, LeaseState.SENT, clock.at, clock.at
    )


async def test_two_machines_with_one_label_are_both_released(world, cloud, clock):
    put(cloud, "one")
    cloud.machines["other"] = replace(cloud.machines["one"], provider_id="other")
    await release(world, clock)
    assert not cloud.machines
    assert [row.state for row in world.store.leases()] == [LeaseState.GONE, LeaseState.GONE]


async def test_a_release_that_was_cut_off_is_finished_by_the_next_gc(world, cloud, clock):
    put(cloud, "stray", deployment="forgotten")
    cloud.release_faults.extend(["429"] * 1000)
    with pytest.raises(Incomplete, match="Not proven gone"):
        await release(world, clock)
    assert [row.state for row in world.store.leases()] == [LeaseState.DELETING]
    cloud.release_faults.clear()
    await release(world, clock)
    assert not cloud.machines


async def test_a_deployment_that_is_being_changed_is_left_alone_and_the_others_are_not(world, cloud, clock):
    put(cloud, "busy", deployment="busy")
    put(cloud, "stray")
    with world.store.lock("busy", "up"), pytest.raises(Refused, match="busy is being changed"):
        await release(world, clock)
    assert set(cloud.machines) == {"busy"}


def test_files_of_credentials_count_where_aws_is_told_to_look(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    assert not gc.has_key("aws")
    Path(tmp_path / "keys").touch()
    assert gc.has_key("aws")


def test_a_deployment_is_not_down_while_a_machine_of_its_bills_without_a_lease(cloud):
    found = [put(cloud, "again"), put(cloud, "staging", deployment="staging")]
    with pytest.raises(Incomplete, match="again of vast bear"):
        gc.check_none_left(found, "vast", "d")
    gc.check_none_left(found, "vast", "third")


@pytest.mark.parametrize("ended", [LeaseState.LOST, LeaseState.GONE])
async def test_a_machine_whose_lease_was_given_up_is_found_and_released_in_its_own_row(world, cloud, clock, ended):
    row = sent_row(clock)
    world.store.add_lease(replace(row, label=str(Label(OWNER, "d", "l0"))).moved(LeaseState.LOST))
    if ended is LeaseState.GONE:
        known = replace(world.store.leases()[0], provider_id="late", state=LeaseState.GONE)
        world.store.update_lease(known, was=LeaseState.LOST)
    cloud.machines["late"] = Machine("late", str(Label(OWNER, "d", "l0")), "running", 2.0, created_at=clock.at - 60)
    assert await found(world) == ["late"]
    await release(world, clock)
    assert not cloud.machines
    [row] = world.store.leases()
    assert (row.lease_id, row.state) == ("l0", LeaseState.GONE)
