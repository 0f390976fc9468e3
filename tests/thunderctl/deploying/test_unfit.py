"""Which machines are remembered as of no use, for how long, and that no plan is made with them meanwhile."""

from dataclasses import replace

import pytest

from planner.catalog import Offer
from planner.errors import HostLied, HostSilent, HostUnfit, NoCapacity
from planner.gpus import gpu_named
from planner.market import Market
from tests.planner.plans import split_plan
from thunderctl import planning
from thunderctl.deploying import unfit
from thunderctl.deploying.unfit import REMEMBERED_S, UnfitMachine, remember, unfit_machines
from thunderctl.spec.spec import Spec
from thunderctl.store.store import Store
from thunderctl.world import World

RENTED = replace(split_plan().instances[0], provider="vast", offer_id="7-100gb", machine="1007")
KNOWN = (UnfitMachine("vast", "7-100gb", "1007"),)


@pytest.fixture
def world(tmp_path):
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        yield World("d", store, tmp_path / "d")


@pytest.mark.parametrize(
    ("instance", "error", "remembered"),
    [
        (RENTED, HostLied("It is an A40."), True),
        (RENTED, HostUnfit("Its disk is full."), True),
        (RENTED, HostSilent("It did not answer."), True),
        (RENTED, NoCapacity("It was taken."), False),
        (replace(RENTED, machine=""), HostLied("It is an A40."), False),
        (replace(RENTED, provider="ssh"), HostUnfit("Its driver is old."), False),
        (replace(RENTED, interruptible=True), HostUnfit("outbid"), False),
        (replace(RENTED, interruptible=True), HostLied("It is an A40."), True),
    ],
)
def test_a_machine_is_remembered_where_another_of_its_kind_may_do(world, instance, error, remembered):
    remember(world, instance, error)
    assert unfit_machines(world) == (KNOWN if remembered else ())
    assert unfit_machines(replace(world, name="other")) == ()


def test_it_is_forgotten_after_hours(world, monkeypatch):
    now = unfit.time.time()
    remember(world, RENTED, HostLied("It is an A40."))
    monkeypatch.setattr(unfit.time, "time", lambda: now + REMEMBERED_S - 10)
    assert unfit_machines(world) == KNOWN
    monkeypatch.setattr(unfit.time, "time", lambda: now + REMEMBERED_S + 60)
    assert unfit_machines(world) == ()


def test_no_plan_is_made_with_what_was_of_no_use(monkeypatch):
    said, given = [], []
    one = Offer("8-100gb", "vast", "Earth", gpu_named("A6000"), 1, 1.0, machine="1008")
    sold = (one, replace(one, offer_id="another size", machine="1007"), replace(one, offer_id="7-100gb"))
    monkeypatch.setattr(planning, "read_market", lambda *_, **__: Market(sold, "2026-09-01T00:00:00Z", "live"))
    monkeypatch.setattr(planning, "plan_of", lambda inputs: given.append(inputs.market.offers))
    planning.make_plan(Spec(), said.append, tried=KNOWN)
    assert given == [(one,)]
    assert said == ["Left out 2 offers of machines that were of no use a few hours ago."]
