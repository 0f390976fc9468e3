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
from pathlib import Path
from typing import TYPE_CHECKING

from planner.catalog import Offer
from planner.errors import HostError, NoCapacity, ProvisioningError, SpecError
from provisioners.base import LeaseRequest, Listing, Machine
from provisioners.crash import crash_point
from provisioners.rendering import rendered
from provisioners.ssh.known_host import KnownHost
from provisioners.ssh.login import SshAddress, SshKeys, SshLogin
from provisioners.vast.client import Order, VastClient
from provisioners.vast.instances import PROVISIONING, Boots, listing
from provisioners.vast.offers import BID, BidPolicy, Needs, Sold, sold
from provisioners.vast.prices import PriceRise, price_rises

if TYPE_CHECKING:
    from provisioners.ssh.connection import SshConnection
    from provisioners.ssh.transport import SshTransport

URL = "https://console.vast.ai"
IMAGE = "nvidia/cuda:12.9.1-devel-ubuntu24.04"
"""CUDA as vLLM's wheels have it. Not Vast's own image: there SSH is not root's."""
AGENT_PORT = 8443
FOLDER = "/root/thunder"
ONSTART_CHARACTERS, LABEL_CHARACTERS = 4096, 256
LEAST_DISK_GB = 8.0
DEADMAN_LOOK_S = 60


@dataclass(frozen=True, slots=True)
class Access:
    """How we get onto a machine: the key that it lets in, and where the host keys it shows are remembered."""

    known_hosts: Path
    keys: SshKeys = field(default_factory=SshKeys)
    public_key: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """How machines are rented. `onstart` is the template of what they run at boot.

    One seen to boot for longer than `boot_s` is stuck; one that nobody renewed for `deadman_s` destroys itself.
    """

    onstart: str
    access: Access
    needs: Needs = field(default_factory=Needs)
    bids: BidPolicy = field(default_factory=BidPolicy)
    image: str = IMAGE
    ports: tuple[int, ...] = (AGENT_PORT,)
    boot_s: float = 1200.0
    deadman_s: float = 7200.0
    url: str = URL


@dataclass(slots=True)
class Quotes:
    """Asks that wait for the next search, and that search once it is on its way to be made."""

    asked: set[int] = field(default_factory=set)
    search: asyncio.Task[dict[str, Offer]] | None = None


class VastProvisioner:
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
        self._client = client
        self._terms = terms
        self._now = now
        self._boots = Boots(terms.boot_s, clock)
        self._needs = replace(terms.needs, ports=len(terms.ports) + 1)
        self._onstart = onstart_script(terms)
        self._quotes = {False: Quotes(), True: Quotes()}
        self._storage_usd_per_gb_hour: dict[str, float] = {}
        self._connections: dict[tuple[str, SshAddress], SshConnection] = {}
        self.left_out: Counter[str] = Counter()
        """Why bundles were left out of the last `offers`, and how many."""

    async def offers(self) -> tuple[Offer, ...]:
        on_demand, by_bid = await asyncio.gather(self._search(interruptible=False), self._search(interruptible=True))
        self.left_out = on_demand.left_out + by_bid.left_out
        return (*on_demand.offers, *by_bid.offers)

    async def quote(self, offer_id: str) -> Offer | None:
        """Those asked for at once are one search: a fleet's quotes, one by one, would use up a minute's searches."""
        ask_id, interruptible = ask_of(offer_id)
        if ask_id is None:
            return None
        quotes = self._quotes[interruptible]
        quotes.asked.add(ask_id)
        if quotes.search is None or quotes.search.done():
            quotes.search = asyncio.create_task(self._quoted(interruptible))
        return (await asyncio.shield(quotes.search)).get(offer_id)

    async def lease(self, request: LeaseRequest) -> Machine:
        ask_id, interruptible = ask_of(request.offer_id)
        if ask_id is None or interruptible != request.interruptible:
            kind = "interruptible" if request.interruptible else "on-demand"
            raise NoCapacity(f"Vast.ai has no {kind} offer {request.offer_id!r}.")
        label, disk_gb = str(request.label), max(LEAST_DISK_GB, request.disk_gb or self._needs.disk_gb)
        if len(label) > LABEL_CHARACTERS:
            raise ProvisioningError(f"The label {label!r} has more than the {LABEL_CHARACTERS} characters that fit.")
        order = Order(
            image=self._terms.image,
            disk_gb=disk_gb,
            label=label,
            environment={f"-p {port}:{port}": "1" for port in self._terms.ports},
            onstart=self._onstart,
            bid_usd_per_hour=await self._bid(request, disk_gb) if interruptible else None,
        )
        made = await self._client.create(ask_id, order)
        crash_point("C2")
        made_id, born = str(made.instance_id), self._now()
        return self._boots.judged(
            Machine(made_id, label, PROVISIONING, request.usd_per_hour, created_at=born, problem=made.problem)
        )

    async def observe(self) -> Listing:
        found = await listing(self._client.page)
        return replace(found, machines=tuple(self._boots.judged(machine) for machine in found.machines))

    async def release(self, provider_id: str) -> None:
        if provider_id.isdecimal():  # what is no number was never a machine of Vast's
            await self._client.destroy(int(provider_id))

    async def price_rises(self) -> tuple[PriceRise, ...]:
        """What hosts announced to charge from the next renewal on."""
        return price_rises(await self._client.pending_price_rises())

    async def admit(self, provider_id: str) -> None:
        """Make Vast's SSH proxy let our key in; straight to the machine, its own script has done so."""
        await self._client.attach_ssh_key(int(provider_id), self._terms.access.public_key)

    def transport(self, machine: Machine) -> "SshTransport":
        from provisioners.ssh.connection import SshConnection
        from provisioners.ssh.transport import SshTransport

        if machine.ssh is None:
            raise HostError(
                f"Instance {machine.provider_id} is {machine.state}: where SSH reaches it is not known yet."
            )
        key = (machine.provider_id, SshAddress(*machine.ssh))
        if key not in self._connections:
            access = self._terms.access
            known_host = KnownHost(access.known_hosts, f"vast-{machine.provider_id}")
            self._connections[key] = SshConnection(SshLogin(key[1], known_host, access.keys))
        return SshTransport(self._connections[key], FOLDER)

    def folder(self, machine: Machine) -> str:
        return FOLDER

    async def _search(self, *, interruptible: bool, asks: Sequence[int] = ()) -> Sold:
        needs = self._needs
        filters = needs.filters | ({"id": {"in": list(asks)}} if asks else {})
        bundles = await self._client.search(filters, interruptible=interruptible, disk_gb=needs.disk_gb)
        found = sold(bundles, needs, self._terms.bids if interruptible else None)
        self._storage_usd_per_gb_hour |= found.storage_usd_per_gb_hour
        return found

    async def _quoted(self, interruptible: bool) -> dict[str, Offer]:
        quotes = self._quotes[interruptible]
        asks, quotes.asked, quotes.search = sorted(quotes.asked), set(), None
        found = await self._search(interruptible=interruptible, asks=asks)
        return {offer.offer_id: offer for offer in found.offers}

    async def _bid(self, request: LeaseRequest, disk_gb: float) -> float:
        """What is left for the GPUs of what the request allows, once storage is paid."""
        if request.offer_id not in self._storage_usd_per_gb_hour and await self.quote(request.offer_id) is None:
            raise NoCapacity(f"Vast.ai no longer sells {request.offer_id!r}.")
        bid = request.usd_per_hour - disk_gb * self._storage_usd_per_gb_hour[request.offer_id]
        if bid <= 0:
            raise NoCapacity(
                f"{request.usd_per_hour:.4g} $/h leaves nothing to bid for {request.offer_id}: disk is dearer."
            )
        return ceil(bid * 1e6) / 1e6  # never a hair below the lowest bid that wins: such a machine is made, and stopped


def ask_of(offer_id: str) -> tuple[int | None, bool]:
    """Vast's number of an offer of ours, None if it is none; and whether it is a bid."""
    number = offer_id.removesuffix(BID)
    return int(number) if number.isdecimal() else None, offer_id.endswith(BID)


def onstart_script(terms: Terms) -> str:
    """What a machine runs at boot. Raises SpecError where it is longer than Vast takes."""
    script = rendered(
        terms.onstart,
        folder=FOLDER,
        public_key=terms.access.public_key.strip(),
        deadman_s=round(terms.deadman_s),
        look_s=DEADMAN_LOOK_S,
        url=terms.url,
    )
    if len(script) > ONSTART_CHARACTERS:
        raise SpecError(f"The onstart script has {len(script)} characters; expected {ONSTART_CHARACTERS} at most.")
    return script
