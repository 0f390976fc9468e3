"""What is sold now: providers asked in parallel, each with a deadline. One that can't be asked is named.

A provider that a user names (in the spec, or by `--provider`) is asked for its live offers. So are this host and own
hosts always. Of all others, and of one that can't be asked, there is the dated snapshot in the package to plan with;
what it offers can't be rented under the names it has there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from planner.errors import HostError, ProvisioningError
from planner.market import Market, Source, snapshot

if TYPE_CHECKING:
    from planner.catalog import Offer
    from thunderctl.spec.spec import Spec

ANSWER_S = 30.0
ALWAYS_LIVE = frozenset({"local", "ssh"})

Narrate = Callable[[str], None]
Ask = Callable[["Spec", Narrate], Awaitable["tuple[Offer, ...]"]]
"""Raises ProvisioningError or HostError where there is no answer; what it left out it narrates."""


async def _ask_local(_spec: "Spec", _narrate: Narrate) -> "tuple[Offer, ...]":
    from thunderctl.compose import provisioner

    return await provisioner("local").offers()


async def _ask_ssh(spec: "Spec", narrate: Narrate) -> "tuple[Offer, ...]":
    if not spec.ssh.hosts:
        return ()
    from thunderctl.markets.own_hosts import live_hosts

    return await live_hosts(spec, narrate)


async def _ask_vast(spec: "Spec", narrate: Narrate) -> "tuple[Offer, ...]":
    from thunderctl.markets.vast import live_vast

    return await live_vast(spec, narrate)


async def _ask_runpod(spec: "Spec", narrate: Narrate) -> "tuple[Offer, ...]":
    from thunderctl.markets.runpod import live_runpod

    return await live_runpod(spec, narrate)


async def _ask_aws(spec: "Spec", narrate: Narrate) -> "tuple[Offer, ...]":
    from thunderctl.markets.aws import live_aws

    return await live_aws(spec, narrate)


ASKED: Mapping[str, Ask] = {
    "local": _ask_local,
    "ssh": _ask_ssh,
    "vast": _ask_vast,
    "runpod": _ask_runpod,
    "aws": _ask_aws,
}


def named(spec: "Spec") -> frozenset[str]:
    """The providers to ask: those that somebody named, and those that cost nothing to ask."""
    wanted = frozenset(spec.markets.providers)
    return wanted if "providers" in spec.markets.model_fields_set else wanted & ALWAYS_LIVE


def live_market(spec: "Spec", providers: Collection[str], narrate: Narrate, asked: Mapping[str, Ask] = ASKED) -> Market:
    """The offers of those providers that answer, and how asking each went; `narrate` hears of those that don't."""
    return asyncio.run(_ask_all(spec, sorted(providers), narrate, asked))


def dated_for(live: Market, providers: Collection[str]) -> Market:
    """The live market, and the snapshot's offers of what else is wanted: then all of it is as old as that is."""
    missing = set(providers) - {source.provider for source in live.sources if source.live}
    dated = snapshot()
    rows = tuple(offer for offer in dated.offers if offer.provider in missing)
    return replace(dated, offers=(*live.offers, *rows), sources=live.sources) if rows else live


async def _ask_all(spec: "Spec", providers: Collection[str], narrate: Narrate, asked: Mapping[str, Ask]) -> Market:
    answers = await asyncio.gather(*(_answer(spec, provider, narrate, asked) for provider in providers))
    offers = tuple(offer for found, _ in answers for offer in found)
    return Market(
        offers, datetime.now(UTC).isoformat(timespec="seconds"), "live", tuple(source for _, source in answers)
    )


async def _answer(
    spec: "Spec", provider: str, narrate: Narrate, asked: Mapping[str, Ask]
) -> "tuple[tuple[Offer, ...], Source]":
    try:
        if provider not in asked:
            raise ProvisioningError(f"{provider} can't be asked yet.")
        return await asyncio.wait_for(asked[provider](spec, narrate), ANSWER_S), Source(provider, live=True)
    except TimeoutError:
        problem = f"{provider} gave no answer within {ANSWER_S:g} s."
    except (ProvisioningError, HostError) as error:
        problem = f"{error.message} {error.hint}".strip()
    narrate(f"{provider} has no live offers: {problem}")
    return (), Source(provider, live=False, problem=problem)
