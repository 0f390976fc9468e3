"""What `up` finds out before it does anything new: of which providers, side by side, and what it says of them."""

import asyncio
import time
from dataclasses import replace

import pytest

from planner.errors import AuthError, Incomplete
from provisioners.base import Label, Listing
from provisioners.leases.journal import LATE_S, LeaseRow, LeaseState
from tests.planner.plans import split_plan
from tests.provisioners.fakes import OWNER, FakeClock, FakeCloud
from tests.virtual_time import VirtualLoop
from thunderctl.deploying.settling import settle
from thunderctl.spec.spec import Spec
from thunderctl.store.store import Store
from thunderctl.world import World

VAST = "vast"


def planned_on(provider: str):
    plan = split_plan()
    return replace(plan, instances=tuple(replace(one, provider=provider) for one in plan.instances))


class NoKey(FakeCloud):
    async def observe(self):
        self.listings += 1
        return Listing(False, reason=f"{self.provider} answered 401")


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A deployment that once had a machine of RunPod, forty days ago, whose key is gone."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        made = World("d", store, tmp_path / "d")
        for kind, provider in ((FakeCloud, VAST), (NoKey, "runpod"), (NoKey, "aws")):
            made._provisioners[provider] = kind(FakeClock(time.time()), provider=provider)
        store.add_lease(leased("runpod", LATE_S * 40))
        yield made


def leased(provider: str, age_s: float, state: LeaseState = LeaseState.GONE) -> LeaseRow:
    at, label = time.time() - age_s, str(Label(OWNER, "d", f"l-{provider}"))
    row = LeaseRow(f"l-{provider}", OWNER, "d", "p", "i9", provider, "", "o", label, 1.0, state, at, at)
    return replace(row, provider_id=f"m-{provider}", ended_at=None if state.may_cost else at + 60)


def settled(world: World, provider: str, **how: bool) -> tuple[list[str], float, Incomplete | None]:
    """What was said, the seconds that it took, and the error."""
    said: list[str] = []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        try:
            runner.run(settle(world, Spec(), planned_on(provider), said.append, **how))
        except Incomplete as error:
            return said, loop.time(), error
        return said, loop.time(), None


def test_a_provider_that_can_have_nothing_of_ours_any_more_is_not_asked(world):
    assert settled(world, VAST) == ([], 0.0, None)
    assert world.provisioner("runpod").listings == 0


def test_one_of_the_plan_is_asked_whatever_it_had(world):
    said, _, error = settled(world, "runpod")
    assert said == ["Finding out from runpod what became of leases there."]
    assert "What runpod has is not known: runpod answered 401" in error.message
    assert "once runpod can be listed with the credentials of these leases." in error.hint


def test_providers_are_waited_for_side_by_side_and_all_that_fail_are_named(world):
    world.store.add_lease(leased("aws", 3600.0, LeaseState.READY))
    said, took_s, error = settled(world, "runpod")
    assert len(said) == 2
    assert took_s < 700, "each has ten minutes"
    assert "aws answered 401" in error.message
    assert "runpod answered 401" in error.message


async def test_what_only_one_says_is_said_as_it_is(world):
    class Refused(FakeCloud):
        async def observe(self):
            raise AuthError("its key was revoked")

    world._provisioners[VAST] = Refused(FakeClock(), provider=VAST)
    world.store.add_lease(leased(VAST, 60.0))
    with pytest.raises(AuthError, match="revoked"):
        await settle(world, Spec(), planned_on(VAST))


def test_a_preview_waits_as_long_as_absence_takes_to_prove_and_an_empty_listing_has_its_mend(world):
    """A store that was restored: its machines were released since."""
    world.store.add_lease(leased(VAST, 3600.0, LeaseState.READY))
    _, took_s, error = settled(world, VAST, is_preview=True)
    assert took_s < 100
    assert "the listing is empty while 1 leases run" in error.message
    assert error.hint.startswith("If its machines were destroyed: thunderctl down proves it")
    assert settled(world, VAST)[1] > 500
