"""Whatever goes wrong while a fleet comes up: the market bills for what the store knows, and within the budget."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioners.leases.journal import LeaseState
from tests.thunderctl.rented_world import NAME, Durations, cards, rented_world
from thunderctl.deploying.lifecycle import plan_in_force

CREATES = (
    "",
    "taken",
    "broken",
    "success:false with id",
    "400 with id",
    "429",
    "dropped after",
    "dropped before",
    "504 after",
)
LISTS = ("", "410", "429", "empty", "schema", "text", "truncated", "null fields")
DESTROYS = ("", "429", "500", "500 after", "404 after")
MACHINES, ASKS = 3, 8


def some(faults):
    return st.lists(st.sampled_from(faults), max_size=5)


@settings(max_examples=4, deadline=None)
@given(
    creates=some(CREATES),
    lists=some(LISTS),
    destroys=some(DESTROYS),
    unfit=st.sets(st.integers(1, ASKS), max_size=2),
    slack=st.sampled_from((1.0, 1.3, 3.0)),
)
def test_up_keeps_the_books_and_the_budget_and_the_next_one_finishes(creates, lists, destroys, unfit, slack):
    quick = Durations(boot_s=20.0, sshd_s=5.0, prepare_s=20.0, engine_s=10.0)
    with tempfile.TemporaryDirectory() as folder, rented_world(Path(folder), cards(ASKS), quick) as world:
        plan = world.run(world.plan(MACHINES, slack=slack))
        for operation, faults in (("create", creates), ("list", lists), ("destroy", destroys)):
            world.market.spoil(operation, *faults)
        world.unfit = unfit
        outcome = world.run(world.up(plan))
        assert world.billed() == world.costing()
        assert world.most_usd_per_hour <= plan.budget_usd_per_hour + 1e-9

        world.market.faults.clear()
        again = world.run(world.up(world.run(wanted(world, outcome))))
        assert again.error is None
        assert world.billed() == world.costing()
        assert world.most_usd_per_hour <= plan.budget_usd_per_hour + 1e-9
        ready = {row.instance for row in world.store.leases(NAME) if row.state is LeaseState.READY}
        assert ready == {instance.id for instance in plan.instances}


async def wanted(world, outcome):
    """The plan that the deployment is to have, as `up` without a plan finds it."""
    found = plan_in_force(world.world())
    assert found == outcome.plan
    return found
