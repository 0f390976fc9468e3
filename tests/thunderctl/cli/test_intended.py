"""What `up` is given on its command line reaches those it asks."""

import pytest

from planner.document import plan_to_json
from tests.planner.plans import split_plan
from thunderctl.cli.intended import intended
from thunderctl.deploying import lifecycle
from thunderctl.markets.needs import needs_of
from thunderctl.store.values import Deployment
from thunderctl.world import open_world


@pytest.mark.parametrize(("given", "asked_for"), [(48.0, 48.0), (None, 12.0)])
def test_machines_are_looked_for_that_are_let_for_as_long_as_they_are_to_be_kept(
    tmp_path, monkeypatch, given, asked_for
):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def nothing(*_, **_more):
        return None

    async def no_steps(*_, **_more):
        return ()

    for name, instead in (
        ("check_host", lambda *_: None),
        ("check_money", lambda *_, **_more: None),
        ("steps_to", no_steps),
    ):
        monkeypatch.setattr(lifecycle, name, instead)
    plan = split_plan()
    with open_world("default") as world:
        world.store.save_plan(plan.plan_id, "default", plan_to_json(plan))
        world.store.save_deployment(Deployment("default", plan_id=plan.plan_id))
        found = intended(world, None, None, None, given)
        assert needs_of(world.written).max_hours == asked_for
        assert found.written.budget.max_hours == 12, "the spec stays as it was written"
