"""Another end for leases that run: the machine is told first, and its row says so after."""

import os
import time
from dataclasses import replace

import pytest

from planner.errors import HostError, Incomplete
from provisioners.base import Label, Machine
from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from provisioners.local.transport import LocalTransport
from tests.provisioners.fakes import OWNER, FakeClock, FakeCloud
from thunderctl.deploying.renewal import renew
from thunderctl.spec.spec import Spec
from thunderctl.store.store import Store
from thunderctl.world import World

HOURS = 3600.0


class Hosts(FakeCloud):
    """A provider whose machines are folders; `unreached` are those that can't be."""

    folders: dict
    unreached: frozenset = frozenset()

    def transport(self, machine: Machine) -> LocalTransport:
        if machine.provider_id in self.unreached:
            raise HostError(f"{machine.provider_id} can't be reached")
        return LocalTransport(self.folders[machine.provider_id], {"PATH": os.environ["PATH"]})


@pytest.fixture
def cloud(tmp_path) -> Hosts:
    made = Hosts(FakeClock(time.time()), provider="vast")
    made.folders = {name: tmp_path / name for name in ("m0", "m1")}
    for folder in made.folders.values():
        (folder / "run").mkdir(parents=True)
    return made


@pytest.fixture
def world(tmp_path, cloud):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        made = World("d", store, tmp_path / "d")
        made._provisioners["vast"] = cloud
        for number in (0, 1):
            row = leased(number)
            store.add_lease(row)
            cloud.machines[row.provider_id] = Machine(row.provider_id, row.label, "running", 1.0, "10.0.0.1", 1.0)
        yield made


def leased(number: int) -> LeaseRow:
    at, name = time.time() - HOURS, f"l{number}"
    label = str(Label(OWNER, "d", name))
    row = LeaseRow(name, OWNER, "d", "p", f"i{number}", "vast", "here", "o", label, 1.0, LeaseState.READY, at, at)
    return replace(row, expires_at=at + 2 * HOURS, provider_id=f"m{number}")


def ends_s(cloud: Hosts, name: str) -> int:
    return int((cloud.folders[name] / "run" / "ends_after_s").read_text())


async def test_machine_and_row_get_the_same_end_counted_from_where_each_is(world, cloud):
    (cloud.folders["m0"] / "run" / "lived_s").write_text("3600\n")
    await renew(world, 5.0)
    assert ends_s(cloud, "m0") == pytest.approx(6 * HOURS, abs=5)
    assert ends_s(cloud, "m1") == pytest.approx(5 * HOURS, abs=5), "its switch has not looked yet"
    for row in world.store.leases("d"):
        assert row.expires_at == pytest.approx(time.time() + 5 * HOURS, abs=5)
        assert row.state is LeaseState.READY
    assert [event.kind for event in world.store.events("d")] == ["lease.renewed"] * 2


async def test_a_life_may_be_made_shorter(world, cloud):
    (cloud.folders["m0"] / "run" / "lived_s").write_text("7200")
    await renew(world, 0.25)
    assert ends_s(cloud, "m0") == pytest.approx(2.25 * HOURS, abs=5)
    assert world.store.leases("d")[0].expires_at == pytest.approx(time.time() + 0.25 * HOURS, abs=5)


@pytest.mark.parametrize("trouble", ["not reached", "not listed", "no disk"])
async def test_a_machine_that_can_not_be_told_ends_as_before_and_is_named_and_the_others_do_not(world, cloud, trouble):
    before, other = world.store.leases("d")
    match trouble:
        case "not reached":
            cloud.unreached = frozenset({"m0"})
        case "not listed":
            del cloud.machines["m0"]
        case "no disk":
            (cloud.folders["m0"] / "run" / "ends_after_s").mkdir()
    with pytest.raises(Incomplete, match="Not renewed, and ending as before: i0: "):
        await renew(world, 5.0)
    first, second = world.store.leases("d")
    assert first == before
    assert second.expires_at > other.expires_at


async def test_what_is_on_its_way_out_is_not_renewed(world):
    row = world.store.leases("d")[0]
    world.store.update_lease(row.moved(LeaseState.DELETING), was=row.state)
    await renew(world, 5.0)
    assert world.store.leases("d")[0].expires_at == row.expires_at


def draining(world, cause, reason="why"):
    row = world.store.leases("d")[0]
    world.store.update_lease(replace(row.moved(LeaseState.DRAINING, reason=reason), drained_for=cause), was=row.state)
    return world.store.leases("d")[0]


async def test_one_that_drains_for_its_end_is_ready_again(world, cloud):
    draining(world, Cause.TIME)
    await renew(world, 5.0)
    row = world.store.leases("d")[0]
    assert (row.state, row.drained_for) == (LeaseState.READY, None)
    assert row.expires_at == pytest.approx(time.time() + 5 * HOURS, abs=5)
    assert ends_s(cloud, "m0") > 0


async def test_one_that_drains_since_it_is_of_no_use_is_named_and_not_told(world, cloud):
    before = draining(world, None, "outbid")
    with pytest.raises(Incomplete, match="i0: it is being released, as outbid"):
        await renew(world, 5.0)
    assert world.store.leases("d")[0] == before
    assert not (cloud.folders["m0"] / "run" / "ends_after_s").exists()


async def test_time_does_not_help_where_the_money_is_spent(world):
    before = draining(world, Cause.MONEY)
    world.written = Spec.model_validate({"budget": {"max_total_usd": 0.5}})
    with pytest.raises(Incomplete, match=r"i0: it is being released, as 2\.00 \$ are spent .*; i1: 2\.00 \$ are spent"):
        await renew(world, 5.0)
    assert world.store.leases("d")[0] == before
    world.written = Spec.model_validate({"budget": {"max_total_usd": 50.0}})
    await renew(world, 5.0)
    assert world.store.leases("d")[0].state is LeaseState.READY


async def test_a_machine_whose_host_ends_it_sooner_is_named_with_the_time_it_has(world, cloud):
    machine = cloud.machines["m0"]
    cloud.machines["m0"] = replace(machine, ends_at=time.time() + 3 * HOURS)
    with pytest.raises(Incomplete, match=r"i0: its host ends it .* UTC, so that it can go on for 3\.0 h at most"):
        await renew(world, 5.0)
    first, second = world.store.leases("d")
    assert first.expires_at < time.time() + 2 * HOURS < second.expires_at
    await renew(world, 2.5)
    assert world.store.leases("d")[0].expires_at == pytest.approx(time.time() + 2.5 * HOURS, abs=5)


async def test_a_count_that_the_switch_could_not_read_is_nothing_to_us_either(world, cloud):
    for name, text in (("m0", "12345678901"), ("m1", "x")):
        (cloud.folders[name] / "run" / "lived_s").write_text(text)
    await renew(world, 1.0)
    assert [ends_s(cloud, name) for name in ("m0", "m1")] == pytest.approx([HOURS, HOURS], abs=5)
