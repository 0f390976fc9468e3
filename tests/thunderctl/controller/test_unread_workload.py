"""The trace that a deployment was planned with is gone: what serves is routed and sized all the same."""

import pytest

from tests.thunderctl.controller.situations import NOW, PLAN
from tests.thunderctl.controller.sizing.test_sizer import fleet
from tests.thunderctl.controller.worlds import ControllerWorld
from thunderctl.controller.sizing.sizer import Sizer
from thunderctl.spec.spec import Spec

GONE = {"workload": {"trace": "/no/such/folder/requests.csv"}}


async def test_who_is_lost_leaves_the_routes_and_it_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    made = ControllerWorld(tmp_path / "controller", spec=Spec.model_validate(GONE))
    await made.run(60)
    for lost in ("i0", "i1"):
        made.contact.deaf = {lost}
        await made.until(lambda: len(made.router.replicas) < 3, within_s=10.0)
        made.contact.deaf = set()
        await made.until(lambda: made.router.replicas == {"r0", "r1", "r2"}, within_s=10.0)
    [said] = made.events("controller.workload")
    assert "/no/such/folder/requests.csv can't be read" in said


async def test_who_is_lost_of_a_fleet_that_is_sized_leaves_too_and_it_is_said_once_by_both(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    sized = {"controller": {"scale": "down-and-up"}, **GONE}
    made = ControllerWorld(tmp_path / "controller", spec=Spec.model_validate(sized))
    await made.run(10)
    [said] = made.events("controller.workload")
    assert "/no/such/folder/requests.csv can't be read" in said
    made.contact.deaf = {"i0"}
    await made.until(lambda: len(made.router.replicas) < 3, within_s=10.0)
    assert made.events("controller.workload") == [said]


async def test_a_fleet_is_sized_by_what_the_plan_knows():
    sizer, spec = Sizer(), Spec.model_validate({"controller": {"scale": "down-and-up"}, **GONE})
    told = [await sizer.learn(fleet(at=NOW + after), spec, {}) for after in (0.0, 2.0)]
    view = sizer.view(fleet(), spec)
    assert view.serves(frozenset({"i0", "i1", "i2"})) == pytest.approx(PLAN.predicted.goodput_rps)
    assert "requests.csv can't be read" in told[0]
    assert told[1] == ""
