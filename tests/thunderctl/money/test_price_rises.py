"""What machines that run are announced to cost, as `status` says it."""

import pytest

from planner.errors import RateLimited
from provisioners.base import PriceRise
from provisioners.leases.journal import LeaseRow, LeaseState
from thunderctl.money.price_rises import announced_rises
from thunderctl.world import open_world

KNOWN = ("owner", "default", "plan")


class Announcing:
    """A provider that says what it was told to say."""

    def __init__(self, *rises: PriceRise, error: Exception | None = None) -> None:
        self.rises, self.error = rises, error

    async def price_rises(self) -> tuple[PriceRise, ...]:
        if self.error:
            raise self.error
        return self.rises


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two machines that run at one provider, and one at another that never announces anything."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with open_world("default") as made:
        for number, provider in enumerate(("vast", "vast", "fixed")):
            lease = f"lease-{number}"
            row = LeaseRow(
                lease, *KNOWN, f"i{number}", provider, "Earth", "o", f"l{number}", 1.0, LeaseState.SENT, 0.0,
                provider_id=f"70{number}",
            )  # fmt: skip
            made.store.add_lease(row)
            made.store.update_lease(row.moved(LeaseState.CREATED), was=LeaseState.SENT)
        made._provisioners["fixed"] = object()
        yield made


async def test_a_machine_of_the_deployment_that_gets_dearer_is_named_with_the_day_and_the_prices(world):
    world._provisioners["vast"] = Announcing(
        PriceRise("701", 0.4, 0.9, 1_800_000_000.0), PriceRise("999", 0.1, 9.0), PriceRise("700", 0.4, 0.3)
    )
    assert await announced_rises(world) == (
        "i1 (vast 701) gets dearer on 2027-01-15 08:00 UTC: its GPUs go from 0.400 to 0.900 $/h.",
    )


async def test_one_whose_day_is_not_known_rises_at_its_next_renewal(world):
    world._provisioners["vast"] = Announcing(PriceRise("700", 0.4, 0.9))
    assert "at its next renewal" in (await announced_rises(world))[0]


async def test_a_provider_that_cannot_say_is_named(world):
    world._provisioners["vast"] = Announcing(error=RateLimited("Too often."))
    assert await announced_rises(world) == ("vast can't say which prices are to rise: Too often.",)
