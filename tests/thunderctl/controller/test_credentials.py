"""Certificates that end soon, while everything serves: renewed here, and on machines that can be reached."""

import asyncio
import datetime
import os
import time
from types import SimpleNamespace

import pytest

from planner.errors import HostError, Refused, SpecError
from provisioners.base import Machine
from runtime.tls import client_context
from tests.thunderctl.controller.situations import row
from thunderctl.controller.credentials import UNSENT, keep_fresh, renew
from thunderctl.controller.undelivered import LONG_S, Undelivered
from thunderctl.keys import certificates
from thunderctl.keys.certificates import is_fresh
from thunderctl.world import open_world

ROWS = [row("i0"), row("i1")]
MACHINES = {one.lease_id: Machine(one.provider_id, one.label, "running", 1.0, "10.0.0.1") for one in ROWS}


class Host:
    """What was put on the machines of these leases, in order; the `deaf` can't be reached."""

    def __init__(self):
        self.files, self.deaf = {}, set()

    def transport(self, machine):
        async def put(path, data, mode):
            if machine.provider_id in self.deaf:
                raise HostError("nobody answers")
            self.files[machine.provider_id, path] = (data, mode)

        return SimpleNamespace(put=put)


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def world(tmp_path, monkeypatch, host):
    """Two agents and a controller whose certificates end in ten days."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with open_world("d") as made, monkeypatch.context() as short:
        short.setattr(certificates, "VALIDITY", datetime.timedelta(days=10))
        _ = made.operator_tls, made.router_tls()
        for one in ROWS:
            made._provisioners[one.provider] = host
            made.agent_tls(one.lease_id)
        short.undo()
        yield made


def folders(world):
    return [world.folder / "agents" / one.lease_id for one in ROWS]


async def test_what_ends_soon_is_renewed_and_the_agents_machines_have_it_before_we_count_on_it(world, host):
    await renew(world, ROWS, MACHINES)
    for one, folder in zip(ROWS, folders(world), strict=True):
        assert is_fresh(folder)
        client_context(folder)
        for name in ("ca.crt", "tls.key", "tls.crt"):
            assert host.files[one.provider_id, f"tls/{name}"] == ((folder / name).read_bytes(), 0o600)
        assert sorted(path.name for path in folder.iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert is_fresh(world.folder / "operator")
    assert is_fresh(world.router.tls)
    host.files.clear()
    await renew(world, ROWS, MACHINES)
    assert not host.files, "what lasts is left alone"


async def test_who_can_not_be_reached_gets_it_the_next_time_and_holds_up_nobody(world, host):
    first, other = (one.provider_id for one in ROWS)
    host.deaf = {first}
    await renew(world, ROWS, MACHINES)
    assert {machine for machine, _ in host.files} == {other}
    host.deaf = set()
    made = [(folder / "tls.crt").read_bytes() for folder in folders(world)]
    await renew(world, ROWS, MACHINES)
    assert [host.files[one, "tls/tls.crt"][0] for one in (first, other)] == made, "and it is the one made before"


async def test_one_that_was_cut_off_half_way_is_sent_whole_the_next_time(world, host, monkeypatch):
    put = []

    async def cut_off(path, data, _mode):
        put.append((path, data))
        if len(put) == 2:
            raise asyncio.CancelledError

    with monkeypatch.context() as cut:
        cut.setattr(host, "transport", lambda _: SimpleNamespace(put=cut_off))
        with pytest.raises(asyncio.CancelledError):
            await renew(world, ROWS, MACHINES)
    await renew(world, ROWS, MACHINES)
    for one, folder in zip(ROWS, folders(world), strict=True):
        assert host.files[one.provider_id, "tls/tls.key"][0] == (folder / "tls.key").read_bytes()
        assert host.files[one.provider_id, "tls/tls.crt"][0] == (folder / "tls.crt").read_bytes()
    assert put[1] == ("tls/tls.key", host.files[ROWS[0].provider_id, "tls/tls.key"][0])


async def test_while_a_command_changes_the_deployment_nothing_is_renewed_under_it(world, host):
    with world.store.lock("d", "up"), pytest.raises(Refused, match="up"):
        await renew(world, ROWS, MACHINES)
    assert not host.files
    assert [is_fresh(folder) for folder in folders(world)] == [False, False]
    await renew(world, ROWS, MACHINES)
    assert [is_fresh(folder) for folder in folders(world)] == [True, True]
    assert world.store.holder("d") is None


async def test_one_that_waits_is_sent_though_another_can_not_be_made_now(world, host):
    first = ROWS[0].provider_id
    host.deaf = {first}
    await renew(world, ROWS, MACHINES)
    host.deaf = set()
    (folders(world)[1] / "tls.crt").unlink()
    with world.store.lock("d", "up"), pytest.raises(Refused, match="up"):
        await renew(world, ROWS, MACHINES)
    assert host.files[first, "tls/tls.crt"][0] == (folders(world)[0] / "tls.crt").read_bytes()


async def test_how_long_a_certificate_waits_is_told_after_a_day_and_counts_from_the_first(world, host):
    one, start = ROWS[0], time.time()
    told = Undelivered(world.folder / "agents")
    host.deaf = {one.provider_id}
    await renew(world, ROWS, MACHINES)
    told.clock = lambda: start + LONG_S / 2
    assert told.long(ROWS) == {}
    waiting = folders(world)[0]
    before = (waiting / UNSENT).stat().st_mtime
    os.utime(waiting / UNSENT, (before - 10, before - 10))
    (waiting / "tls.crt").unlink()  # so that it is made once more
    await renew(world, ROWS, MACHINES)
    told.clock = lambda: start + LONG_S + 60
    assert told.long(ROWS) == {one.lease_id: pytest.approx(before - 10, abs=0.01)}
    host.deaf = set()
    await renew(world, ROWS, MACHINES)
    assert told.long(ROWS), "looked up once a minute"
    told.clock = lambda: start + LONG_S + 120
    assert told.long(ROWS) == {}


async def test_without_their_authority_agents_keep_what_they_have_and_are_sent_nothing(world, host):
    (world.folder / "ca" / "ca.key").unlink()
    with pytest.raises(SpecError, match=r"i0, i1: their authority in .* is gone"):
        await renew(world, ROWS, MACHINES)
    assert not host.files


async def test_a_store_that_can_not_be_read_now_is_asked_again(world, monkeypatch):
    asked = []

    def leases(_name):
        asked.append(1)
        if len(asked) == 1:
            raise SpecError("not now")
        return ROWS

    monkeypatch.setattr(world.store, "leases", leases)
    looking = asyncio.create_task(keep_fresh(world, SimpleNamespace(machines=MACHINES), every_s=0.001))
    async with asyncio.timeout(30):
        while not all(is_fresh(folder) for folder in folders(world)):
            await asyncio.sleep(0.001)
    looking.cancel()


def test_where_the_authority_was_lost_what_it_issued_goes_on_and_nothing_is_issued_that_nobody_trusts(world):
    before = (world.operator_tls / "tls.crt").read_bytes()
    (world.folder / "ca" / "ca.key").unlink()
    assert (world.operator_tls / "tls.crt").read_bytes() == before
    with pytest.raises(SpecError, match="what runs trusts no other") as error:
        world.agent_tls("another")
    assert "thunderctl down" in error.value.hint
    assert not (world.folder / "agents" / "another").exists()
