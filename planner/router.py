"""How far the router is from the machines: the round trips that a first token waits for beside all that engines do.

A request goes from the router to the replica that prefills and its answer comes back, then to the one that decodes,
whose first token comes back: a round trip to each. A replica that prefills for itself is asked once. Round trips are
stated (rows `router,OFFER,...` among the links) or, where the router is away from them, guessed from the provider.
"""

from collections.abc import Iterable
from dataclasses import replace

from planner.catalog import Offer
from planner.deployment import Instance
from planner.links import INTERNET_MS, ROUTER, SAME_REGION_MS, Links
from planner.members import Member

HERE, OWN = "local", "ssh"


def seen_from_router(offers: Iterable[Offer], links: Links, *, away: bool) -> tuple[Offer, ...]:
    """The offers with their round trips: as stated, else guessed if the router is `away`, else none."""
    return tuple(replace(offer, router_ms=_round_trip_ms(offer, links, away=away)) for offer in offers)


def waited_s(prefill: Member, decode: Member) -> float:
    """What the round trips of one route add to TTFT; a replica is asked at the instance of its first stage."""
    ends = [prefill] if prefill.replica.id == decode.replica.id else [prefill, decode]
    return sum(one.instance.router_ms for one in ends) / 1e3


def router_notes(instances: Iterable[Instance]) -> tuple[str, ...]:
    """A line for people, where the router is away from some of them."""
    far = [f"{one.id} {one.router_ms:g} ms" for one in instances if one.router_ms > 0]
    if not far:
        return ()
    return (
        f"TTFT counts round trips of the router: {', '.join(far)}. They are guessed from the provider, but for those "
        "that the links file states (from `router`).",
    )


def _round_trip_ms(offer: Offer, links: Links, *, away: bool) -> float:
    stated = [links.get((ROUTER, offer.offer_id)), links.get((offer.offer_id, ROUTER))]
    ways = [link.latency_ms for link in stated if link is not None]
    if ways:
        return 2 * sum(ways) / len(ways)
    if not away or offer.provider == HERE:
        return 0.0
    return 2 * (SAME_REGION_MS if offer.provider == OWN else INTERNET_MS)
