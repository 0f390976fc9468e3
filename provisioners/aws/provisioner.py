"""The contract of `provisioners/base.py`, kept on AWS.

A machine is an EC2 instance with a volume of its own and a public address; its id here is `region/i-...`, as EC2 must
be asked in the right region. A shutdown from inside ends it, so its own switch does when nobody has spoken to it for
`deadman_s`. EC2 takes our token, but a create is sent once all the same: listings tell what became of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from planner.catalog import Offer
from planner.errors import NoCapacity, ProvisioningError, SpecError
from provisioners.aws.capacity import Scarcity
from provisioners.aws.client import AwsClients
from provisioners.aws.instances import listing
from provisioners.aws.market import MarketReader
from provisioners.aws.offer_ids import OfferId
from provisioners.aws.offers import RegionMarket, SpotPolicy, beside_usd_per_hour, sold
from provisioners.aws.order import Order, run_parameters
from provisioners.aws.places import Places
from provisioners.aws.regions import Regions
from provisioners.base import LeaseRequest, Listing, Machine
from provisioners.crash import crash_point
from provisioners.rendering import rendered
from provisioners.ssh.rented import OnRentedHosts, RentedHosts

USER_DATA_BYTES = 16_384
DEADMAN_LOOK_S = 60
PRICE_ROUNDING_USD = 1e-6


@dataclass(frozen=True, slots=True)
class Terms:
    """How machines are rented. `user_data` is the template of what they run at first boot, `deadman` their switch's.

    One that nobody spoke to for `deadman_s` ends itself, and so does one that has lived for its lease or `lifetime_s`.
    """

    user_data: str
    deadman: str
    hosts: RentedHosts
    disk_gb: float = 120.0
    spot: SpotPolicy = field(default_factory=SpotPolicy)
    deadman_s: float = 7200.0
    lifetime_s: float = 30 * 86_400.0
    folder: str = "/opt/thunder"


class AwsProvisioner(OnRentedHosts):
    """Machines of one account, in every region in use."""

    provider = "aws"
    consistent = False

    def __init__(
        self,
        clients: AwsClients,
        reader: MarketReader,
        regions: Regions,
        places: Places,
        terms: Terms,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clients = clients
        self._reader = reader
        self._regions = regions
        self._places = places
        self._terms = terms
        self._hosts, self._folder = terms.hosts, terms.folder
        self._scarcity = Scarcity(clock)
        self._now = now
        self._script(0.0)  # one that is too long is the spec's fault, not known only once machines are rented
        self.left_out: Counter[str] = Counter()
        """Why types were left out of the last `offers`, and how many times."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What AWS may not be asked by this account, and what is taken instead."""
        return tuple(dict.fromkeys(self._reader.notes.values()))  # regions are often told the same

    @property
    def spot(self) -> SpotPolicy:
        return self._terms.spot

    async def offers(self) -> tuple[Offer, ...]:
        """Of every chosen region that answers. Raises ProvisioningError where none does."""
        regions = await self._regions.chosen()
        markets = await asyncio.gather(*(self._market(region) for region in regions))
        read = [market for market in markets if isinstance(market, RegionMarket)]
        failed = [market for market in markets if isinstance(market, ProvisioningError)]
        if failed and not read:
            raise failed[0]
        for region, market in zip(regions, markets, strict=True):
            self._reader.notes.pop((region, "market"), None)
            if isinstance(market, ProvisioningError):
                self._reader.notes[region, "market"] = f"{region} is left out: {market.message}"
        lots = [sold(market, self._terms.disk_gb, self._terms.spot) for market in read]
        self.left_out = sum((lot.left_out for lot in lots), Counter[str]())
        return tuple(offer for lot in lots for offer in lot.offers if not self._is_scarce(offer.offer_id))

    async def quote(self, offer_id: str) -> Offer | None:
        named = OfferId.parse(offer_id)
        if named is None or self._scarcity.left_s(named) or named.region not in await self._regions.enabled():
            return None
        market = await self._reader.market(named.region)
        found = sold(market, self._terms.disk_gb, self._terms.spot).offers
        return next((offer for offer in found if offer.offer_id == offer_id), None)

    async def lease(self, request: LeaseRequest) -> Machine:
        offer = await self._checked(request)
        disk_gb = request.disk_gb or self._terms.disk_gb
        market = await self._reader.market(offer.region)
        beside = beside_usd_per_hour(disk_gb, market.listed.storage_usd_per_gb_month)
        if offer.interruptible and request.usd_per_hour <= beside:
            raise NoCapacity(f"{request.usd_per_hour:.4g} $/h leaves nothing to pay for {offer}: its disk is dearer.")
        script = self._script(request.lifetime_s)
        order = Order(request.label, offer, request.usd_per_hour, beside, disk_gb, script)
        place = await self._places.place(request.label, offer.region, request.group)
        self._regions.memory.remember(offer.region)
        try:
            doing = f"Leasing {offer.type_name} in {offer.zone}"
            made = await self._clients.run_instance(doing, offer.region, run_parameters(order, place))
        except NoCapacity:
            self._scarcity.note(offer)
            raise
        crash_point("C2")
        made_id = f"{offer.region}/{made['InstanceId']}"
        return Machine(made_id, str(request.label), "pending", request.usd_per_hour, created_at=self._now())

    async def observe(self) -> Listing:
        try:
            regions = await self._regions.in_use()
        except (ProvisioningError, SpecError) as error:
            return Listing(False, reason=f"{error.message} {error.hint}".strip())
        return await listing(self._clients, regions, self._reader.spot_usd_per_hour)

    async def account(self) -> str:
        return await self._clients.account()

    async def release(self, provider_id: str) -> None:
        region, _, instance_id = provider_id.partition("/")
        if not instance_id:  # no machine of this provider was ever called so
            return
        await self._clients.call(
            f"Terminating {provider_id}",
            "ec2",
            region,
            "terminate_instances",
            {"InstanceIds": [instance_id]},
            fine=("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"),
        )
        self._hosts.drop(provider_id)

    async def let_in(self, owner_id: str, deployment: str, fleet: Collection[str]) -> None:
        regions = sorted(self._regions.memory.regions())
        await asyncio.gather(*(self._places.let_in(region, owner_id, deployment, fleet) for region in regions))

    async def let_operator_in(self, owner_id: str, deployment: str) -> None:
        regions = sorted(self._regions.memory.regions())
        await asyncio.gather(*(self._places.let_operator_in(region, owner_id, deployment) for region in regions))

    async def _market(self, region: str) -> RegionMarket | ProvisioningError:
        try:
            return await self._reader.market(region)
        except ProvisioningError as error:
            return error

    def _is_scarce(self, offer_id: str) -> bool:
        named = OfferId.parse(offer_id)
        return named is not None and self._scarcity.left_s(named) > 0

    async def _checked(self, request: LeaseRequest) -> OfferId:
        """The offer, if it is still sold at no more than the request allows. Raises NoCapacity."""
        offer = OfferId.parse(request.offer_id)
        if offer is None or offer.interruptible != request.interruptible:
            kind = "interruptible" if request.interruptible else "on-demand"
            raise NoCapacity(f"AWS has no {kind} offer {request.offer_id!r}.")
        if left_s := self._scarcity.left_s(offer):
            raise NoCapacity(f"AWS had no {offer.type_name} in {offer.zone} a moment ago; ask again in {left_s:.0f} s.")
        sold_now = await self.quote(request.offer_id)
        if sold_now is None:
            raise NoCapacity(f"AWS no longer sells {offer}.")
        if not offer.interruptible and sold_now.usd_per_hour > request.usd_per_hour + PRICE_ROUNDING_USD:
            raise NoCapacity(
                f"{offer} costs {sold_now.usd_per_hour:.4g} $/h; the request allows {request.usd_per_hour:.4g}."
            )
        return offer

    def _script(self, lifetime_s: float) -> str:
        """What the machine runs at first boot. Raises SpecError where it is longer than EC2 takes."""
        terms = self._terms
        deadman = rendered(
            terms.deadman,
            deadman_s=round(terms.deadman_s),
            lifetime_s=round(lifetime_s or terms.lifetime_s),
            look_s=DEADMAN_LOOK_S,
        )
        script = rendered(terms.user_data, folder=terms.folder, deadman=deadman)
        if len(script.encode()) > USER_DATA_BYTES:
            raise SpecError(f"The user data has {len(script.encode())} bytes; expected {USER_DATA_BYTES} at most.")
        return script
