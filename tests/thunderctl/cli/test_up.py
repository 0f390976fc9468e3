"""Which plan `up` goes on with, what it asks to spend, and what an interruption leaves."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from planner.document import plan_to_json
from planner.errors import Refused
from provisioners.leases.journal import LeaseRow, LeaseState
from tests.planner.plans import split_plan
from thunderctl.cli.intended import Intended, choose_plan
from thunderctl.cli.main import app
from thunderctl.cli.up import _question, saying_what_stays, with_hint
from thunderctl.fleet.resting import Resting
from thunderctl.spec.spec import Spec
from thunderctl.store.values import Deployment
from thunderctl.world import open_world

PLAN = split_plan()
AMENDED = replace(PLAN, plan_id="second", amends=PLAN.plan_id)
AGAIN = replace(PLAN, plan_id="third", amends="second")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A deployment in which two machines of a plan were replaced, one after the other."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_world("default") as opened:
        for plan in (PLAN, AMENDED, AGAIN):
            opened.store.save_plan(plan.plan_id, "default", plan_to_json(plan))
        opened.store.save_deployment(Deployment("default", plan_id="third"))
        yield opened


def test_up_with_the_plan_it_began_with_goes_on_with_the_machines_that_took_over(world, tmp_path, capsys):
    (tmp_path / "plan.json").write_text(json.dumps(plan_to_json(PLAN)))
    assert choose_plan(world, "plan.json", None)[0].plan_id == "third"
    assert choose_plan(world, "second", None)[0].plan_id == "third"
    assert "goes on as third" in capsys.readouterr().err


def test_another_plan_is_taken_as_it_is_even_where_it_looks_the_same(world, tmp_path):
    other = replace(PLAN, plan_id="other")
    (tmp_path / "plan.json").write_text(json.dumps(plan_to_json(other)))
    assert choose_plan(world, "plan.json", None)[0] == other


def test_a_plan_that_says_it_amends_itself_is_read_once(world):
    from thunderctl.deploying.lifecycle import lineage

    assert lineage(world, replace(PLAN, amends=PLAN.plan_id)) == (PLAN.plan_id,)


def test_it_asks_for_the_cost_and_for_the_budget_where_a_replacement_may_need_it():
    assert _question(replace(PLAN, budget_usd_per_hour=3.25)) == "Spend up to $3.250 an hour?"
    assert "up to $5.000 where a machine can't be had" in _question(PLAN)


def test_an_interruption_says_nothing_where_nothing_was_rented(world, capsys):
    with pytest.raises(KeyboardInterrupt), saying_what_stays(world):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_an_interruption_names_the_machines_that_stay_and_what_they_cost(world, capsys):
    known = ("owner", "default", "third", "i0", "vast", "Earth", "o0", "label", 1.25)
    world.store.add_lease(LeaseRow("l0", *known, LeaseState.SENT, 0.0, sent_at=0.0))
    with pytest.raises(KeyboardInterrupt), saying_what_stays(world):
        raise KeyboardInterrupt
    assert "1 machine that cost $1.250 an hour stay (i0)" in capsys.readouterr().err


def test_no_error_has_no_hint():
    assert with_hint(None, "run again") is None


def up_again(world, monkeypatch, *arguments: str, written: Spec | None = None) -> list[float]:
    """`up` where nothing is left to do, with one machine that runs; for how long that was renewed."""
    told: list[float] = []

    async def renew(_world, hours: float) -> None:
        told.append(hours)

    async def look_after(_self) -> None: ...

    leased = LeaseRow("l0", "me", "default", "p", "i0", "vast", "here", "o", "label", 1.0, LeaseState.READY, 1.0, 1.0)
    world.store.add_lease(leased)
    monkeypatch.setattr("thunderctl.deploying.renewal.renew", renew)
    monkeypatch.setattr("thunderctl.world.World.look_after", look_after)
    monkeypatch.setattr(
        "thunderctl.cli.up.intended", lambda *_, **__: Intended(AGAIN, written or Spec(), (), "third", Resting())
    )
    done = CliRunner().invoke(app, ["up", *arguments])
    assert done.exit_code == 0 or isinstance(done.exception, Refused), done.output
    return told


def test_max_hours_renews_what_runs_where_nothing_else_is_to_do(world, monkeypatch):
    assert up_again(world, monkeypatch, "--yes", "--max-hours", "6") == [6.0]


@pytest.mark.parametrize("arguments", [("--yes",), ("--max-hours", "6"), ("--max-hours", "6", "--dry-run")])
def test_nothing_is_renewed_unasked_unagreed_or_in_a_dry_run(world, monkeypatch, arguments):
    assert up_again(world, monkeypatch, *arguments) == []


@pytest.mark.parametrize(("arguments", "max_total_usd"), [(("--yes",), 300.0), (("--yes", "--dry-run"), 150.0)])
def test_a_limit_that_was_moved_holds_from_the_next_up_on_though_nothing_else_is_to_do(
    world, monkeypatch, arguments, max_total_usd
):
    written = Spec.model_validate({"budget": {"max_total_usd": 300.0}})
    up_again(world, monkeypatch, *arguments, written=written)
    assert world.spec().budget.max_total_usd == max_total_usd


def test_machines_of_no_use_are_named_before_somebody_agrees_to_go_on(world, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("thunderctl.cli.output.narrate", said.append)
    known = ("me", "default", "p", "i1", "vast", "here", "o", "label 1", 1.0)
    going = LeaseRow("l1", *known, LeaseState.READY, 1.0, 1.0).moved(LeaseState.DRAINING, reason="outbid")
    world.store.add_lease(going)
    up_again(world, monkeypatch, "--yes", "--max-hours", "6")
    assert "The machines that run go on for 6 h from now, and then end. But i1 is being released: outbid." in said
