"""The contract of `provisioners/base.py`, kept on Vast.ai.

A machine is a container: it gets a public address and random outer ports when it has booted, bills from the moment it
was made, and its disk bills on when it is stopped. So it is destroyed, never stopped, and it destroys itself when
nobody has renewed it for `deadman_s`. On demand Vast takes no limit on the price: one that has moved since the quote is
seen by the next listing, and counts.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from planner.catalog import Offer
from planner.errors import NoCapacity, ProvisioningError
from provisioners.base import LeaseRequest, Listing, Machine, PriceRise
from provisioners.boots import Boots
from provisioners.crash import crash_point
from provisioners.ssh.rented import OnRentedHosts
from provisioners.vast.asks import AskId
from provisioners.vast.bids import BidPolicy
from provisioners.vast.client import Order, VastClient
from provisioners.vast.instances import AWAY, BOOTING, PROVISIONING, listing
from provisioners.vast.needs import Needs
from provisioners.vast.offers import Sold, sold
from provisioners.vast.prices import price_rises
from provisioners.vast.terms import LONGEST_S, Terms, onstart_script

if TYPE_CHECKING:
    from provisioners.ssh.transport import SshTransport

LABEL_CHARACTERS = 256
LEAST_DISK_GB = 8.0
RISES_EVERY_S = 600.0


@dataclass(slots=True)
class Quotes:
    """Asks that wait for the next search, and that search once it is on its way to be made."""

    asked: set[int] = field(default_factory=set)
    search: asyncio.Task[dict[int, Offer]] | None = None


class VastProvisioner(OnRentedHosts):
    """Machines of one account, or, without a key, offers to look at."""

    provider = "vast"
    consistent = False

    def __init__(
        self,
        client: VastClient,
        terms: Terms,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        onstart_script(terms, LONGEST_S)  # one that does not fit is said before anything is asked
        self._client = client
        self._terms = terms
        self._hosts, self._folder = terms.hosts, terms.folder
        self._clock, self._now = clock, now
        self._rises: tuple[PriceRise, ...] | None = None
        self._rises_at = 0.0
        self._boots = Boots(terms.boot_s, lambda machine: machine.state in BOOTING, clock)
        self._returns = Boots(terms.away_s, lambda machine: machine.state in AWAY, clock)
        self._needs = replace(terms.needs, ports=len(terms.ports) + 1)
        self._quotes: dict[AskId, Quotes] = {}
        self._storage_usd_per_gb_hour: dict[int, float] = {}
        self.left_out: Counter[str] = Counter()
        """Why bundles were left out of the last `offers`, and how many."""

    @property
    def bids(self) -> BidPolicy:
        return self._terms.bids

    async def offers(self) -> tuple[Offer, ...]:
        searches = (self._search(self._needs, interruptible=interruptible) for interruptible in (False, True))
        on_demand, by_bid = await asyncio.gather(*searches)
        self.left_out = on_demand.left_out + by_bid.left_out
        return (*on_demand.offers, *by_bid.offers)

    async def quote(self, offer_id: str) -> Offer | None:
        """Those asked for at once are one search: a fleet's quotes, one by one, would use up a minute's searches."""
        ask = AskId.parse(offer_id)
        if ask is None:
            return None
        quotes = self._quotes.setdefault(replace(ask, number=0), Quotes())
        quotes.asked.add(ask.number)
        if quotes.search is None or quotes.search.done():
            quotes.search = asyncio.create_task(self._quoted(quotes, ask))
        return (await asyncio.shield(quotes.search)).get(ask.number)

    async def lease(self, request: LeaseRequest) -> Machine:
        ask = AskId.parse(request.offer_id)
        if ask is None or ask.interruptible != request.interruptible:
            kind = "interruptible" if request.interruptible else "on-demand"
            raise NoCapacity(f"Vast.ai has no {kind} offer {request.offer_id!r}.")
        label = str(request.label)
        disk_gb = max(LEAST_DISK_GB, request.disk_gb or ask.disk_gb or self._needs.disk_gb)
        if len(label) > LABEL_CHARACTERS:
            raise ProvisioningError(f"The label {label!r} has more than the {LABEL_CHARACTERS} characters that fit.")
        order = Order(
            image=self._terms.image,
            disk_gb=disk_gb,
            label=label,
            environment={f"-p {port}:{port}": "1" for port in self._terms.ports},
            onstart=onstart_script(self._terms, request.lifetime_s),
            bid_usd_per_hour=await self._bid(request, ask, disk_gb) if ask.interruptible else None,
        )
        made = await self._client.create(ask.number, order)
        crash_point("C2")
        made_id, born = str(made.instance_id), self._now()
        return self._boots.judged(
            Machine(made_id, label, PROVISIONING, request.usd_per_hour, created_at=born, problem=made.problem)
        )

    async def observe(self) -> Listing:
        found = await listing(self._client.page)
        return replace(found, machines=tuple(map(self._known, found.machines)))

    async def release(self, provider_id: str) -> None:
        if provider_id.isdecimal():  # what is no number was never a machine of Vast's
            await self._client.destroy(int(provider_id))
            self._hosts.drop(provider_id)

    async def account(self) -> str:
        return await self._client.account()

    async def price_rises(self) -> tuple[PriceRise, ...]:
        """What hosts announced to charge from the next renewal on; asked for every ten minutes at most."""
        if self._rises is None or self._clock() - self._rises_at >= RISES_EVERY_S:
            self._rises, self._rises_at = price_rises(await self._client.pending_price_rises()), self._clock()
        return self._rises

    def transport(self, machine: Machine) -> "SshTransport":
        """Straight to the machine its own script lets our key in; Vast's SSH proxy has to be told of it."""
        return self._hosts.transport(machine, self._folder, lambda: self._admit(machine.provider_id))

    def _known(self, machine: Machine) -> Machine:
        """With what its row does not say: how long it has been as it is, and what our image has."""
        judged = self._returns.judged(self._boots.judged(machine))
        return replace(judged, engine_python=self._terms.engine_python)

    async def _admit(self, provider_id: str) -> None:
        await self._client.attach_ssh_key(int(provider_id), self._hosts.public_key)

    async def _search(self, needs: Needs, *, interruptible: bool, asks: Sequence[int] = ()) -> Sold:
        filters = needs.cards | ({"id": {"in": list(asks)}} if asks else {})
        bundles = await self._client.search(filters, interruptible=interruptible, disk_gb=needs.disk_gb)
        found = sold(bundles, needs, self._terms.bids if interruptible else None)
        self._storage_usd_per_gb_hour |= found.storage_usd_per_gb_hour
        return found

    async def _quoted(self, quotes: Quotes, kind: AskId) -> dict[int, Offer]:
        """The asks that wait, as they stand now, with the disk and in the way of `kind`."""
        asks, quotes.asked, quotes.search = sorted(quotes.asked), set(), None
        needs = replace(self._needs, disk_gb=kind.disk_gb or self._needs.disk_gb)
        found = await self._search(needs, interruptible=kind.interruptible, asks=asks)
        return {ask.number: offer for offer in found.offers if (ask := AskId.parse(offer.offer_id))}

    async def _bid(self, request: LeaseRequest, ask: AskId, disk_gb: float) -> float:
        """What is left for the GPUs of what the request allows, once storage is paid."""
        if ask.number not in self._storage_usd_per_gb_hour and await self.quote(request.offer_id) is None:
            raise NoCapacity(f"Vast.ai no longer sells {request.offer_id!r}.")
        bid = request.usd_per_hour - disk_gb * self._storage_usd_per_gb_hour[ask.number]
        if bid <= 0:
            raise NoCapacity(
                f"{request.usd_per_hour:.4g} $/h leaves nothing to bid for {request.offer_id}: disk is dearer."
            )
        return ceil(bid * 1e6) / 1e6  # never a hair below the lowest bid that wins: such a machine is made, and stopped
