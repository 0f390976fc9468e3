"""`thunderctl up PLAN_ID` goes back to an earlier plan: what that changes and costs is shown, and then it is done."""

from dataclasses import replace

import pytest

from planner.deployment import Phase
from planner.document import plan_to_json
from planner.reconcile import StepKind
from tests.planner.plans import split_plan
from tests.thunderctl.rented_world import NAME, cards, rented_world
from thunderctl.cli.intended import choose_plan
from thunderctl.cli.tables.plan_difference import difference
from thunderctl.deploying.lifecycle import steps_to
from thunderctl.spec.spec import Spec
from thunderctl.store.values import Deployment
from thunderctl.world import open_world

FIRST = replace(split_plan(), plan_id="first")
SECOND = replace(
    FIRST,
    plan_id="second",
    cost_usd_per_hour=4.5,
    instances=(replace(FIRST.instances[0], offer_id="other"), *FIRST.instances[1:]),
    replicas=(FIRST.replicas[0].flipped(Phase.MIXED), *FIRST.replicas[1:]),
)


def test_what_another_plan_changes_is_its_cost_its_machines_and_phases():
    said = " ".join(difference(SECOND, FIRST))
    assert "Plan first (made 2026-09-01T12:00:00Z) takes over from second: $4.500 → $3.250 an hour" in said
    assert "predicted goodput 3.00 → 3.00 requests/s" in said
    assert "It rents i0 (2 x A6000, vast, 2.000 $/h)." in said
    assert "It releases i0 (2 x A6000, vast, 2.000 $/h)." in said
    assert "Phases: r0 mixed → prefill." in said
    assert "i1" not in said


def test_of_what_stays_nothing_is_said():
    assert len(list(difference(FIRST, replace(FIRST, plan_id="same")))) == 1


def test_an_earlier_plan_is_chosen_by_its_id_and_what_it_changes_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_world("default") as world:
        for plan in (FIRST, SECOND):
            world.store.save_plan(plan.plan_id, "default", plan_to_json(plan))
        world.store.save_deployment(Deployment("default", plan_id="second"))
        chosen, _ = choose_plan(world, "first", None)
        assert chosen == FIRST
        assert "takes over from second: $4.500 → $3.250 an hour" in capsys.readouterr().err
        assert choose_plan(world, "second", None)[0] == SECOND
        assert capsys.readouterr().err == "", "it is in force"


def test_it_is_brought_up_and_what_took_its_place_is_released(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundles = [ask | {"dph_base": 0.4 + ask["id"] / 100} for ask in cards(4)]
    with rented_world(tmp_path, bundles) as rented:
        first = rented.run(rented.plan(1, slack=4.0))
        assert rented.run(rented.up(first)).error is None
        second = rented.run(rented.plan(1, slack=4.0))
        assert rented.run(rented.up(second)).error is None
        assert rented.store.deployment(NAME).plan_id == second.plan_id
        assert [plan.plan_id for plan in (first, second)] == list(dict.fromkeys(plan.plan_id for plan in rented.routed))

        async def back():
            world = rented.world()
            chosen, _ = choose_plan(world, first.plan_id, None)
            return chosen, [step.what for step in await steps_to(world, chosen, Spec())]

        chosen, steps = rented.run(back())
        assert chosen == first
        assert {StepKind.LEASE, StepKind.RELEASE} <= set(steps)
        assert rented.run(rented.up(chosen)).error is None
        assert rented.store.deployment(NAME).plan_id == first.plan_id
        (row,) = (row for row in rented.store.leases(NAME) if row.state.may_cost)
        assert row.offer_id == first.instances[0].offer_id
        assert rented.billed() == rented.costing()


@pytest.mark.parametrize("name", ["no-such-plan", "first-of-another"])
def test_a_plan_that_this_deployment_never_had_is_refused(tmp_path, monkeypatch, name):
    from planner.errors import SpecError

    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_world("default") as world:
        world.store.save_plan("first-of-another", "another", plan_to_json(FIRST))
        with pytest.raises(SpecError, match=f"Deployment default has no plan {name}") as raised:
            choose_plan(world, name, None)
        assert "thunderctl history" in raised.value.hint
