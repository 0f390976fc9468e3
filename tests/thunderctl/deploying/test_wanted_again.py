"""`up` goes on with what was on its way out, where what it drained for holds no longer."""

import time
from dataclasses import replace

import pytest

from provisioners.leases.journal import Cause, LeaseRow, LeaseState
from thunderctl.deploying.wanted_again import go_on, leaving_for_good
from thunderctl.fleet.resting import Rest, RestCause, Resting
from thunderctl.spec.spec import Spec
from thunderctl.store.store import Store
from thunderctl.store.values import Deployment, DeploymentState
from thunderctl.world import World

POOR, RICH = ({"budget": {"max_total_usd": usd}} for usd in (2.0, 50.0))


@pytest.fixture
def world(tmp_path):
    """Two machines that run for two hours, at a dollar an hour; the first one drains."""
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.save_deployment(Deployment("d", DeploymentState.SERVING, 1, "p", "", 5.0, POOR))
        at = time.time() - 3600
        for name in ("i0", "i1"):
            known = ("me", "d", "p", name, "vast", "here", "o", f"label {name}", 1.0, LeaseState.READY, at, at)
            store.add_lease(LeaseRow(f"l-{name}", *known, provider_id=f"m-{name}"))
        yield World("d", store, tmp_path / "d")


def drained_for(world, cause):
    row = world.store.leases("d")[0]
    draining = replace(row.moved(LeaseState.DRAINING, reason="why"), drained_for=cause)
    world.store.update_lease(draining, was=row.state)
    return draining


def test_what_drained_for_money_stays_once_more_may_be_spent(world):
    draining = drained_for(world, Cause.MONEY)
    go_on(world, world.spec(), is_whole=True)
    assert world.store.leases("d")[0] == draining
    go_on(world, Spec.model_validate(RICH), is_whole=True)
    assert world.store.leases("d")[0].state is LeaseState.READY
    assert world.store.deployment("d").spec == RICH, "the controller goes by what is stored"
    assert [event.kind for event in world.store.events("d")] == ["lease.kept"]


def test_what_is_of_no_use_goes_all_the_same(world):
    draining = drained_for(world, None)
    go_on(world, Spec.model_validate(RICH), is_whole=True)
    assert leaving_for_good(world) == (draining,)


def test_one_whose_end_has_come_goes_on_with_that(world):
    draining = drained_for(world, Cause.TIME)
    world.store.update_lease(replace(draining, expires_at=time.time() + 30), was=draining.state)
    go_on(world, Spec.model_validate(RICH), is_whole=True)
    assert world.store.leases("d")[0].state is LeaseState.DRAINING


@pytest.mark.parametrize(("is_whole", "after"), [(True, DeploymentState.SERVING), (False, DeploymentState.STARTING)])
def test_after_a_down_that_was_cut_off_what_still_serves_stays(world, is_whole, after):
    drained_for(world, Cause.DOWN)
    world.store.save_deployment(replace(world.store.deployment("d"), state=DeploymentState.STOPPING))
    go_on(world, Spec.model_validate(RICH), is_whole=is_whole)
    assert world.store.deployment("d").state is after
    assert {row.state for row in world.store.leases("d")} == {LeaseState.READY}


def test_what_drains_to_rest_goes_on_resting_unless_the_rest_is_over(world):
    resting = Resting({"i0": Rest("o", RestCause.WINDOW, "a smaller budget", 0.0)})
    world.store.save_deployment(replace(world.store.deployment("d"), resting=resting.to_json()))
    draining = drained_for(world, Cause.REST)
    go_on(world, Spec.model_validate(RICH), is_whole=True)
    go_on(world, Spec.model_validate(RICH), resting, is_whole=True)
    assert world.store.leases("d")[0] == draining
    assert Resting.from_json(world.store.deployment("d").resting) == resting
    go_on(world, Spec.model_validate(RICH), Resting(), is_whole=True)
    assert world.store.leases("d")[0].state is LeaseState.READY
    assert world.store.deployment("d").resting == {}


def test_where_nothing_runs_nothing_is_gone_on_with(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        before = store.deployment("d")
        go_on(World("d", store, tmp_path / "d"), Spec.model_validate(RICH), is_whole=True)
        assert store.deployment("d") == before
