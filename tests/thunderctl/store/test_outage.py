"""A database that is away for a while: the controller says so, keeps in touch with agents, and goes on after it."""

import shutil
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from planner.document import plan_to_json
from planner.errors import Refused, ThunderError
from tests.provisioners.fakes import MemoryJournal
from tests.thunderctl.controller.situations import PLAN
from tests.thunderctl.controller.worlds import ControllerWorld
from tests.thunderctl.postgres import CUT_OFF
from thunderctl.controller import lead
from thunderctl.controller.process import ControllerProcess
from thunderctl.store.store import Store


@pytest.fixture
def url(postgres) -> str:
    return postgres.new_store()


@pytest.fixture
def store(url):
    with Store(url) as opened:
        yield opened


@pytest.fixture
def made(store, tmp_path, monkeypatch) -> ControllerWorld:
    """A deployment that serves, with its store in PostgreSQL."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    made = ControllerWorld(tmp_path / "controller")
    store.save_deployment(made.store.saved)
    store.save_plan(PLAN.plan_id, "d", plan_to_json(PLAN))
    for row in MemoryJournal.leases(made.store):
        store.add_lease(row)
    made.world.store = store
    made.again()
    return made


async def test_a_controller_whose_store_is_away_ticks_on_and_keeps_in_touch(made, store, postgres):
    await made.run(20)
    assert made.alerts == ()
    asked = made.contact.asked
    with postgres.stopped():
        await made.run(10)
        assert made.contact.asked >= asked + 5
        [alert] = made.alerts
        assert "can't be reached" in alert
        made.contact.deaf = {"i0"}
        await made.run(10)
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=5.0)
    made.contact.deaf = set()
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=10.0)
    await made.run(10)
    assert made.alerts == ()
    assert [row.state.runs for row in store.leases("d")] == [True] * 3
    assert store.holder("d") is None


@contextmanager
def read_only(postgres):
    """The store may only be read for the block, by connections that begin in it; those before it are cut off."""
    postgres.execute("ALTER DATABASE store SET default_transaction_read_only = on")
    postgres.execute(CUT_OFF, database="store")
    try:
        yield
    finally:
        postgres.execute("ALTER DATABASE store RESET default_transaction_read_only")
        postgres.execute(CUT_OFF, database="store")


async def test_a_controller_whose_store_may_only_be_read_says_so_and_goes_on_after_it(made, postgres):
    await made.run(20)
    asked = made.contact.asked
    with read_only(postgres):
        made.contact.deaf = {"i0"}
        await made.run(20)
        assert made.contact.asked >= asked + 9
        assert any("It can't be written" in text for text in made.alerts)
        assert made.router.replicas == {"r0", "r1", "r2"}  # the router itself leaves out whom it can't reach
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=10.0)
    await made.run(10)
    assert not any("written" in text for text in made.alerts)


async def test_a_store_that_goes_while_the_controller_acts_takes_no_lock_with_it(made, url, postgres):
    """The row that could not be given back names a process that lives: nobody could ever take it over."""
    await made.run(20)
    look = made.cloud.observe
    with ExitStack() as away:

        async def and_the_store_goes():
            made.cloud.observe = look
            away.enter_context(postgres.stopped())
            return await look()

        made.cloud.observe = and_the_store_goes
        made.contact.deaf = {"i0"}
        await made.until(lambda: any("The store" in text for text in made.alerts), within_s=300.0)
    with Store(url) as other:
        assert other.holder("d").message == "the controller is at work"
        await made.until(lambda: other.holder("d") is None, within_s=300.0)
        assert made.router.replicas == {"r2"}
        with other.lock("d", "up"):
            pass


def test_a_lock_that_could_not_be_given_back_is_given_back_with_the_next(store, url, postgres):
    def hold_it():
        with store.lock("d", "up"):
            postgres.stop()

    with pytest.raises(ThunderError, match="can't be"):
        hold_it()
    postgres.start()
    with Store(url) as other:
        with pytest.raises(Refused), other.lock("d", "down"):
            pass
        with store.lock("another", "up"), other.lock("d", "down"):
            pass


def test_who_waits_for_the_leader_row_waits_for_the_store_too(store, url, tmp_path, postgres, monkeypatch):
    world = SimpleNamespace(name="d", store=store, controller=ControllerProcess(tmp_path / "controller", "d"))
    led, waited = [], []

    async def run(_world, _held, tick_s):
        led.append(tick_s)

    def sleep(_seconds):
        waited.append(world.controller.report().waits_for)
        assert led == []
        match len(waited):
            case 1:
                postgres.stop()
            case 2:
                postgres.start()
            case 3:
                first.__exit__(None, None, None)

    monkeypatch.setattr(lead, "_run", run)
    with Store(url) as other:
        first = other.lock(lead.leader_row("d"), "the controller leads")
        first.__enter__()
        lead.lead(world, tick_s=2.0, sleep=sleep)
    assert led == [2.0]
    assert ["the controller leads" in text for text in waited] == [True, False, True]
    assert "can't be reached" in waited[1]


def test_a_controller_that_ends_while_the_store_is_away_ends(store, tmp_path, postgres, monkeypatch):
    world = SimpleNamespace(name="d", store=store, controller=ControllerProcess(tmp_path / "controller", "d"))

    async def run(*_):
        postgres.stop()

    monkeypatch.setattr(lead, "_run", run)
    lead.lead(world, tick_s=2.0, sleep=lambda _: shutil.rmtree(world.controller.folder))
    postgres.start()
    assert world.controller.folder.exists()
