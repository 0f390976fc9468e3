"""What can be rented in a machine's place now: the providers' live offers that the spec allows."""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from planner.catalog import Offer
from planner.deployment import Plan
from planner.errors import ThunderError
from planner.market import LEASABLE, Interruptible, Market, eligible
from thunderctl.compose import check_leasable
from thunderctl.markets.markets import named
from thunderctl.spec.spec import Spec
from thunderctl.world import World

ANSWER_S = 300.0
"""A provider's own pace is waited for: without a substitute a machine is given up."""


class Place(Protocol):
    """For whom the market is looked at."""

    @property
    def world(self) -> World: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def narrate(self) -> Callable[[str, str], None]: ...


async def rentable(site: Place) -> tuple[Offer, ...]:
    """Of the providers that the plan rents from and of those that the spec names and that can be rented from.

    One that can't be asked is said and left out. They are asked through the provisioners that rent, so that calls keep
    to one pace.
    """
    rented = {instance.provider for instance in site.plan.instances}
    others = [one for one in named(site.spec) & LEASABLE - rented if _leasable(site, one)]
    found = await asyncio.gather(*(_offers(site, provider) for provider in sorted({*rented, *others})))
    markets = site.spec.markets
    return eligible(
        Market(tuple(offer for offers in found for offer in offers), "", "live"),
        interruptible=Interruptible(markets.interruptible),
        regions=markets.regions,
        min_reliability=markets.min_reliability,
    ).offers


def _leasable(site: Place, provider: str) -> bool:
    try:
        check_leasable(provider)
    except ThunderError as error:
        site.narrate(provider, f"no offers: {error.message}")
        return False
    return True


async def _offers(site: Place, provider: str) -> Collection[Offer]:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await site.world.provisioner(provider).offers()
    except TimeoutError:
        site.narrate(provider, f"no offers: it did not answer within {ANSWER_S:.0f} s")
    except ThunderError as error:
        site.narrate(provider, f"no offers: {error.message}")
    return ()
