"""A store on a disk that is full: the controller keeps in touch with agents, says so, and goes on after it."""

import pytest

from planner.document import plan_to_json
from provisioners.leases.journal import LeaseState
from tests.provisioners.fakes import MemoryJournal
from tests.thunderctl.controller.situations import PLAN
from tests.thunderctl.controller.worlds import ControllerWorld
from tests.thunderctl.store.test_store_failures import full, mounted, url_in
from thunderctl.store.store import Store


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    with mounted(folder, "size=2m"):
        yield folder


@pytest.fixture
def made(disk, tmp_path, monkeypatch):
    """A deployment that serves, with its store on that disk."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    made = ControllerWorld(tmp_path / "controller")
    with Store(url_in(disk)) as store:
        store.save_deployment(made.store.saved)
        store.save_plan(PLAN.plan_id, "d", plan_to_json(PLAN))
        for row in MemoryJournal.leases(made.store):
            store.add_lease(row)
        made.world.store = store
        made.again()
        yield made


async def test_agents_are_spoken_to_while_the_disk_is_full_and_what_was_lost_is_routed_around_after_it(made, disk):
    await made.run(20)
    assert made.alerts == ()
    asked, before = made.contact.asked, made.router.in_force
    with full(disk):
        made.contact.deaf = {"i0"}
        await made.run(60)
        assert made.contact.asked >= asked + 29
        assert any("Its disk is full" in text for text in made.alerts)
        assert made.router.in_force == before  # the router itself leaves out whom it can't reach
    await made.until(lambda: made.router.replicas == {"r2"}, within_s=10.0)
    made.contact.deaf = set()
    await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=15.0)
    await made.run(10)
    assert made.alerts == ()
    assert [row.state for row in made.world.store.leases("d")] == [LeaseState.READY] * 3
    with made.world.store.lock("d", "up"):
        pass
