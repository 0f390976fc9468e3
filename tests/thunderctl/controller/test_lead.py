"""Who acts: one controller leads, commands wait for its short work and for nobody else's long one."""

import asyncio
import os
import shutil
import threading
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import psutil
import pytest

from planner.errors import Refused, ThunderError
from tests.thunderctl.controller.situations import row
from thunderctl.controller import lead
from thunderctl.controller.process import ControllerProcess
from thunderctl.controller.report import ControllerReport, read_report
from thunderctl.spec.spec import Spec
from thunderctl.store import locks
from thunderctl.store.locks import BRIEF_S, LOCK_S, Held
from thunderctl.store.store import Store


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(url):
    with Store(url) as opened:
        yield opened


def held_elsewhere(url, lasts_s, let_go):
    """Somebody holds the lock, in a thread of its own, until `let_go`; returns once it is held."""
    taken = threading.Event()

    def hold():
        with Store(url) as other, other.lock("d", "the controller is at work", lasts_s=lasts_s) as held:
            time.sleep(0.05)
            held.renew()
            taken.set()
            assert let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    return thread


def test_a_command_waits_for_who_is_soon_done(store, url):
    let_go = threading.Event()
    thread = held_elsewhere(url, BRIEF_S, let_go)
    threading.Timer(0.3, let_go.set).start()
    with store.lock("d", "up"):
        assert let_go.is_set()
        assert store.holder("d").message == "up"
    thread.join()


def test_who_takes_long_is_not_waited_for(store, url):
    let_go = threading.Event()
    thread = held_elsewhere(url, LOCK_S, let_go)
    started = time.monotonic()
    with pytest.raises(Refused), store.lock("d", "up"):
        pass
    assert time.monotonic() - started < 5
    let_go.set()
    thread.join()


def test_a_brief_holder_that_hangs_is_not_waited_for_for_ever(store, url, monkeypatch):
    monkeypatch.setattr(locks, "BRIEF_S", 0.2)
    let_go = threading.Event()
    thread = held_elsewhere(url, 0.1, let_go)
    with pytest.raises(Refused, match="the controller is at work"), store.lock("d", "up"):
        pass
    let_go.set()
    thread.join()


def test_renewing_a_brief_lock_keeps_it_as_short(store):
    with store.lock("d", "x", lasts_s=BRIEF_S) as held:
        held.renew()
        assert store.holder("d").expires_at - time.time() <= BRIEF_S


@pytest.fixture
def world(store, tmp_path):
    folder = tmp_path / "controller"
    return SimpleNamespace(name="d", store=store, controller=ControllerProcess(folder, "d"))


def test_a_second_controller_waits_until_the_first_is_gone(world, url, monkeypatch):
    led, waited = [], []

    async def run(_world, _held, tick_s):
        led.append(tick_s)

    monkeypatch.setattr(lead, "_run", run)
    other = Store(url)
    first = other.lock(lead.leader_row("d"), "the controller leads")
    first.__enter__()

    def sleep(seconds):
        waited.append(seconds)
        assert led == []
        if len(waited) == 3:
            first.__exit__(None, None, None)

    lead.lead(world, tick_s=2.0, sleep=sleep)
    other.close()
    assert (led, len(waited)) == ([2.0], 3)


def test_the_leader_row_is_no_deployments_lock(world):
    with world.store.lock(lead.leader_row("d"), "the controller leads"), world.store.lock("d", "up"):
        pass


def test_a_controller_whose_deployment_went_while_it_waited_ends(world, url):
    other = Store(url)
    with other.lock(lead.leader_row("d"), "the controller leads"):
        lead.lead(world, tick_s=2.0, sleep=lambda _: shutil.rmtree(world.controller.folder))
    other.close()


def test_who_waits_says_so_to_whoever_started_it(world, url):
    reports = []

    def sleep(_seconds):
        reports.append(world.controller.report())
        if len(reports) == 2:
            shutil.rmtree(world.controller.folder)

    with Store(url) as other, other.lock(lead.leader_row("d"), "the controller leads"):
        lead.lead(world, tick_s=2.0, sleep=sleep)
    first, second = reports
    assert (first.pid, first.ticks) == (os.getpid(), 0)
    assert "the controller leads" in first.waits_for
    assert second.since == first.since < second.ticked_at


def test_who_waits_beside_one_that_leads_on_this_host_leaves_its_report(world, url):
    init = psutil.Process(1)
    leading = ControllerReport(1, init.create_time(), since=1.0, ticked_at=2.0, ticks=3)
    world.controller.folder.mkdir()
    leading.write(world.controller.folder)
    seen = []

    def sleep(_seconds):
        seen.append(world.controller.report())
        shutil.rmtree(world.controller.folder)

    with Store(url) as other, other.lock(lead.leader_row("d"), "the controller leads"):
        lead.lead(world, tick_s=2.0, sleep=sleep)
    assert seen == [leading]


def test_when_agents_were_last_heard_outlives_the_controller_that_heard_them(world, url):
    """One that died lately, and whose row is waited for, may have heard nobody for days."""
    world.controller.folder.mkdir()
    assert lead._heard_before(world) is None
    world.store.add_lease(row("i0", created_at=5.0))
    assert lead._heard_before(world) == 5.0, "no report is left: on another host"
    dead = ControllerReport(os.getpid(), 1.0, since=1.0, ticked_at=9.0, heard_at=7.0)
    dead.write(world.controller.folder)
    seen = []

    def sleep(_seconds):
        seen.append((read_report(world.controller.folder), lead._heard_before(world)))
        if len(seen) == 2:
            shutil.rmtree(world.controller.folder)

    with Store(url) as other, other.lock(lead.leader_row("d"), "the controller leads"):
        lead.lead(world, tick_s=2.0, sleep=sleep)
    assert [(report.heard_at, at) for report, at in seen] == [(7.0, 7.0), (7.0, 7.0)]
    assert seen[0][0].ticked_at > dead.ticked_at, "it says itself that it is there"


def test_a_controller_whose_stores_file_is_replaced_begins_anew_with_the_one_that_lies_there(
    tmp_path, url, monkeypatch
):
    """Else it would go on for ever with a file that nobody else has."""
    path, led = tmp_path / "store.db", []

    class Leading:
        def __init__(self, *_, **__):
            pass

        async def run(self):
            led.append(path.stat().st_ino)
            if len(led) == 1:
                with Store(f"sqlite:///{tmp_path / 'other.db'}") as other:
                    other.record("d", "x", "restored")
                (tmp_path / "other.db").rename(path)
                await asyncio.Event().wait()

    for name, instead in (
        ("Controller", Leading),
        ("Agents", lambda _: nullcontext()),
        ("client_context", lambda _: None),
        ("serving", lambda *_: nullcontext(SimpleNamespace(told=None, ticked=None))),
    ):
        monkeypatch.setattr(lead, name, instead)

    @contextmanager
    def opened(name):
        with Store(url) as store:
            process = ControllerProcess(tmp_path / "controller", name)
            yield SimpleNamespace(
                name=name,
                store=store,
                router=None,
                operator_tls=tmp_path,
                spec=Spec,
                controller=process,
                folder=tmp_path,
            )

    lead.look_after("d", tick_s=0.01, opened=opened)
    assert len(led) == len(set(led)) == 2
    with Store(url) as store:
        assert [one.message for one in store.events()] == ["restored", lead.SWAPPED]


def test_who_loses_the_row_ends_however_long_its_tick_takes(world, monkeypatch):
    """What is renewed beside the ticks is what tells: here no tick ever ends."""
    ended = []

    class Hanging:
        def __init__(self, *_, **__):
            pass

        async def run(self):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    class Lost:
        holder = SimpleNamespace(taken_at=0.0, expires_at=0.06)
        asked = 0

        def renew(self):
            self.asked += 1
            raise Refused("taken over") if self.asked > 2 else ThunderError("The store can't be used: disk I/O error.")

        during, _go_on_renewing = Held.during, Held._go_on_renewing

    monkeypatch.setattr(lead, "Controller", Hanging)
    monkeypatch.setattr(lead, "Agents", lambda _: nullcontext())
    monkeypatch.setattr(lead, "client_context", lambda _: None)
    monkeypatch.setattr(lead, "serving", lambda *_: nullcontext(SimpleNamespace(told=None, ticked=None)))
    folder = world.controller.folder
    acting = SimpleNamespace(
        name="d",
        store=world.store,
        router=None,
        operator_tls=folder,
        spec=Spec,
        folder=folder,
        controller=world.controller,
    )
    with pytest.raises(Refused):
        asyncio.run(lead._run(acting, Lost(), 2.0))
    assert ended == [True]
