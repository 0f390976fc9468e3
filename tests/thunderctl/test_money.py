"""What `up` refuses for money's sake before it leases anything."""

import time
from dataclasses import replace
from decimal import Decimal
from unittest.mock import patch

import pytest

from planner.errors import Refused
from provisioners.base import Label, Machine
from provisioners.leases.adopt import condemned
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.transfers import TransferReading
from tests.planner.plans import split_plan
from thunderctl.deploying.lifecycle import check_money
from thunderctl.money.spending import spending_of, warnings_of
from thunderctl.spec.spec import parse_spec
from thunderctl.store.store import Store
from thunderctl.world import World

HALVES = [("00:00", "12:00"), ("12:00", "00:00")]


@pytest.fixture
def world(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield World("d", store, tmp_path)


def all_day(usd: float) -> str:
    windows = ", ".join(f'{{ from = "{a}", to = "{b}", tz = "UTC", usd_per_hour = {usd} }}' for a, b in HALVES)
    return f"[budget]\nwindows = [{windows}]"


def leased(usd_per_hour: float, hours: float = 1.0, name: str = "l0") -> LeaseRow:
    began = time.time() - 3600 * hours
    return LeaseRow(
        name, "me", "d", "p", name, "vast", "here", "o", f"label {name}", usd_per_hour, LeaseState.READY, began, began
    )


def test_a_plan_dearer_than_the_budget_of_the_hour_is_refused(world):
    plan = split_plan()
    check_money(world, plan, parse_spec(all_day(plan.cost_usd_per_hour)))
    with pytest.raises(Refused, match=r"the budget at this hour is 0\.01 \$/h"):
        check_money(world, plan, parse_spec(all_day(0.01)))


def test_a_plan_whose_machines_are_leased_already_may_go_on_in_a_narrower_window(world):
    plan = split_plan()
    world.store.add_lease(leased(plan.cost_usd_per_hour))
    check_money(world, plan, parse_spec(all_day(0.01)))


def test_what_was_spent_counts_machines_and_transfers(world):
    spec = parse_spec("[budget]\nmax_total_usd = 2.0")
    world.store.add_lease(leased(1.5))
    check_money(world, split_plan(), spec)
    world.store.record_transfers([TransferReading("d", "l0", "l1", 1.0, 0.0, 6 * 10**9, Decimal("0.1"))])
    with pytest.raises(Refused, match=r"2\.10 \$ were spent"):
        check_money(world, split_plan(), spec)


def test_money_that_lasts_less_than_an_hour_is_warned_of(world):
    world.store.add_lease(leased(1.0))
    spec = parse_spec("[budget]\nmax_total_usd = 1.5")
    [warning] = warnings_of(spending_of(world.store, "d"), spec)
    assert warning.startswith("1.00 $ are spent of [budget] max_total_usd = 1.50 $; at 1 $/h the rest is used up at")
    assert warnings_of(spending_of(world.store, "d"), replaced(spec, 150.0)) == ()


def replaced(spec, max_total_usd: float):
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"max_total_usd": max_total_usd})})


def test_the_most_that_may_be_spent_counts_from_when_it_was_last_down_and_reports_count_all(world):
    spec = parse_spec("[budget]\nmax_total_usd = 2.0")
    began = time.time() - 7200
    world.store.add_lease(replace(leased(3.0, hours=2.0), state=LeaseState.GONE, ended_at=began + 3600))
    world.store.record_transfers([TransferReading("d", "l0", "l9", 1.0, began, 10**9, Decimal(1))])
    with pytest.raises(Refused, match=r"were spent since it was last down") as refused:
        check_money(world, split_plan(), spec)
    assert "take the deployment down" in refused.value.hint
    with patch.object(world.store, "_now", lambda: began + 3600):
        world.store.record("d", "down", "everything is released and proven gone")
    check_money(world, split_plan(), spec)
    assert spending_of(world.store, "d").spend.usd > 3
    world.store.add_lease(leased(2.5, name="l1"))
    with pytest.raises(Refused, match=r"2\.50 \$ were spent"):
        check_money(world, split_plan(), spec)


def stray(created_at: float) -> LeaseRow:
    """What `gc --delete` writes of a machine that this store never knew."""
    label = str(Label("another owner", "d", "old"))
    machine = Machine("m-old", label, "running", 2.0, created_at=created_at)
    return condemned(machine, "vast", (), time.time())


@pytest.mark.parametrize("state", [LeaseState.DELETING, LeaseState.GONE])
def test_an_old_stray_that_gc_ends_is_reported_and_uses_up_nothing(world, state):
    ended = {"state": state, "ended_at": time.time() if state is LeaseState.GONE else None}
    world.store.add_lease(leased(1.0))
    world.store.add_lease(replace(stray(time.time() - 5 * 86_400), **ended))
    spec = parse_spec("")
    check_money(world, split_plan(), spec)
    spending = spending_of(world.store, "d")
    assert warnings_of(spending, spec) == ()
    assert spending.life.spend.usd == pytest.approx(Decimal(1), abs=Decimal("0.01"))
    assert spending.spend.usd > 240


def test_a_lease_that_turned_up_after_it_was_down_counts_from_then_on(world):
    world.store.add_lease(leased(3.0, hours=100))
    assert spending_of(world.store, "d").life.spend.usd > 299
    world.store.record("d", "down", "everything is released and proven gone")
    assert spending_of(world.store, "d").life.spend.usd < 1


def test_a_stated_budget_is_in_the_gate_with_the_plans_and_the_windows():
    def gate(text: str) -> float:
        return parse_spec(text).budget.gate_usd_per_hour(10.0, time.time())

    assert gate("") == 10.0, "the default is nobody's word"
    assert gate("[budget]\nusd_per_hour = 4.0") == 4.0
    assert gate("[budget]\nusd_per_hour = 12.0") == 10.0
    assert gate(f"{all_day(3.0)}\nusd_per_hour = 4.0") == 3.0
    assert gate(f"{all_day(6.0)}\nusd_per_hour = 4.0") == 4.0


def test_machines_that_were_all_taken_back_leave_the_limit_as_it_is(world):
    began = time.time() - 7200
    world.store.add_lease(replace(leased(3.0, hours=2.0), state=LeaseState.GONE, ended_at=began + 3600))
    spec = parse_spec("[budget]\nmax_total_usd = 2.0")
    with pytest.raises(Refused, match="were spent"):
        check_money(world, split_plan(), spec)
