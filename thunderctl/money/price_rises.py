"""What machines that run are announced to cost from some day on, in words: for `status` and for who watches."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from planner.errors import ProvisioningError
from provisioners.base import Announces, PriceRise
from provisioners.leases.journal import LeaseRow
from thunderctl.world import World

ANSWER_S = 20.0


async def announced_rises(world: World) -> tuple[str, ...]:
    """A sentence for each running lease that is to get dearer, and for each provider that can't say."""
    rows = [row for row in world.store.leases(world.name) if row.state.runs]
    providers = sorted({row.provider for row in rows})
    said = await asyncio.gather(*(_said(world, provider, rows) for provider in providers))
    return tuple(sentence for sentences in said for sentence in sentences)


async def _said(world: World, provider: str, rows: Iterable[LeaseRow]) -> list[str]:
    seller = world.provisioner(provider)
    if not isinstance(seller, Announces):
        return []
    try:
        async with asyncio.timeout(ANSWER_S):
            rises = {rise.provider_id: rise for rise in await seller.price_rises()}
    except TimeoutError:
        return [f"{provider} did not say within {ANSWER_S:.0f} s which prices are to rise."]
    except ProvisioningError as error:
        return [f"{provider} can't say which prices are to rise: {error.message}"]
    mine = ((row, rises.get(row.provider_id)) for row in rows if row.provider == provider)
    return [_sentence(row, rise) for row, rise in mine if rise and rise.after_usd_per_hour > rise.before_usd_per_hour]


def _sentence(row: LeaseRow, rise: PriceRise) -> str:
    when = datetime.fromtimestamp(rise.at, UTC).strftime("on %Y-%m-%d %H:%M UTC") if rise.at else "at its next renewal"
    return (
        f"{row.instance} ({row.provider} {row.provider_id}) gets dearer {when}: its GPUs go from "
        f"{rise.before_usd_per_hour:.3f} to {rise.after_usd_per_hour:.3f} $/h."
    )
