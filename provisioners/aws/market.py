"""What a region sells now: asked of AWS once for many quotes, and what changes slowly once an hour.

What an account may not ask is found elsewhere or assumed, and said in `notes`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from planner.errors import AuthError, ProvisioningError
from provisioners.aws.client import AwsClients, in_filters
from provisioners.aws.instance_types import GPU_TYPES, Types, instance_types
from provisioners.aws.list_prices import ListPrices, dated_prices, live_prices
from provisioners.aws.offers import RegionMarket
from provisioners.aws.quotas import LIVE, Quota, limits, used
from provisioners.aws.spot_feeds import FEEDS, Fetch, SpotFeed, fetch, read_feeds
from provisioners.aws.spot_prices import SpotPrices, spot_history

SLOW_S, FAST_S, LIVE_S = 3600.0, 30.0, 60.0
"""How old types and list prices may be; spot prices and what runs already; and the price of what we run."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slow:
    """Of a region: what is the same for hours. `limits` is None where quotas may not be read."""

    types: Types
    zones: Mapping[str, frozenset[str]]
    listed: ListPrices
    limits: Mapping[Quota, float] | None


@dataclass(slots=True)
class Aged:
    """Something read, and until when on the clock it is good."""

    value: Any
    until: float


@dataclass(slots=True)
class MarketReader:
    """Reads what regions sell. Who wants the same at once shares one reading."""

    clients: AwsClients
    feeds: Iterable[str] = FEEDS
    fetch: Fetch = fetch
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    notes: dict[tuple[str, str], str] = field(default_factory=dict)
    """What is assumed of a region, by what it is about, as long as that is what was read last."""
    _kept: dict[str, Aged] = field(default_factory=dict)
    _reading: dict[str, asyncio.Task[Any]] = field(default_factory=dict)

    async def market(self, region: str) -> RegionMarket:
        """Raises ProvisioningError where the region can't be asked at all."""
        return await self._shared(region, lambda: self._read(region))

    async def spot_usd_per_hour(self, region: str, type_name: str, zone: str) -> float | None:
        """What one that runs costs now; None where that can't be asked."""
        try:
            name = f"live {region} {type_name}"
            prices = await self._once(name, LIVE_S, lambda: spot_history(self.clients, region, [type_name], self.now()))
        except ProvisioningError:
            return None
        return prices.usd_per_hour(type_name, zone)

    async def _read(self, region: str) -> RegionMarket:
        slow = await self._once(f"slow {region}", SLOW_S, lambda: self._slow(region))
        spot, free = await asyncio.gather(
            self._once(f"spot {region}", FAST_S, lambda: self._spot(region, slow)),
            self._once(f"free {region}", FAST_S, lambda: self._free(region, slow)),
        )
        return RegionMarket(region, slow.types, slow.zones, slow.listed, spot, free)

    async def _slow(self, region: str) -> Slow:
        types, listed, limit = await asyncio.gather(self._types(region), self._listed(region), self._limits(region))
        return Slow(types, await self._zones(region, sorted(types.by_name)), listed, limit)

    async def _types(self, region: str) -> Types:
        asked = {"Filters": [{"Name": "instance-type", "Values": list(GPU_TYPES)}], "MaxResults": 100}
        pages = self.clients.pages(f"Reading {region}'s types", "ec2", region, "describe_instance_types", asked)
        types = instance_types([row async for page in pages for row in page.get("InstanceTypes", [])])
        del types.left_out["no NVIDIA GPU"]  # of which nobody thinks as being for sale here
        return types

    async def _zones(self, region: str, names: list[str]) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for some in in_filters(names):
            filters = [{"Name": "instance-type", "Values": some}]
            asked = {"LocationType": "availability-zone", "Filters": filters}
            doing = f"Reading where {region} has them"
            async for page in self.clients.pages(doing, "ec2", region, "describe_instance_type_offerings", asked):
                for row in page.get("InstanceTypeOfferings", []):
                    found.setdefault(str(row["InstanceType"]), set()).add(str(row["Location"]))
        return {name: frozenset(zones) for name, zones in found.items()}

    async def _listed(self, region: str) -> ListPrices:
        try:
            listed = await live_prices(self.clients, region)
        except ProvisioningError as error:
            dated = dated_prices(region)
            self.notes[region, "prices"] = (
                f"Prices on demand are those of the package's table, the oldest of {dated.as_of or 'no date'}: "
                f"AWS's Pricing API can't be asked. {error.message}"
            )
            return dated
        self.notes.pop((region, "prices"), None)
        return listed

    async def _limits(self, region: str) -> dict[Quota, float] | None:
        try:
            read = await limits(self.clients, region)
        except ProvisioningError as error:
            self.notes[region, "quotas"] = (
                f"How many the account may rent is assumed: its quotas can't be read. {error.message}"
            )
            return None
        self.notes.pop((region, "quotas"), None)
        return read

    async def _spot(self, region: str, slow: Slow) -> SpotPrices:
        try:
            prices = await spot_history(self.clients, region, slow.zones.keys(), self.now())
        except AuthError as error:
            self.notes[region, "spot"] = f"Spot prices are those of AWS's public feeds, without zones. {error.message}"
        else:
            self.notes.pop((region, "spot"), None)
            return prices
        try:
            feed: SpotFeed = await self._shared("feed", self._feed)  # of many megabytes, and of all regions
        except ProvisioningError as error:
            self.notes[region, "spot"] = f"Nothing is offered on the spot market: {error.message}"
            return SpotPrices()
        return SpotPrices(by_type=feed.prices(region, slow.listed.usd_per_hour))

    async def _feed(self) -> SpotFeed:
        return await self._once("feed", SLOW_S, lambda: read_feeds(tuple(self.feeds), self.fetch))

    async def _free(self, region: str, slow: Slow) -> dict[Quota, float]:
        """vCPUs left under each known quota."""
        if slow.limits is None:
            return {}
        filters = [{"Name": "instance-state-name", "Values": sorted(LIVE)}]
        doing = f"Counting {region}'s vCPUs in use"
        pages = self.clients.pages(doing, "ec2", region, "describe_instances", {"Filters": filters, "MaxResults": 1000})
        running = [one async for page in pages for group in page["Reservations"] for one in group["Instances"]]
        in_use = used(running, {name: kind.vcpus for name, kind in slow.types.by_name.items()})
        return {quota: limit - in_use[quota] for quota, limit in slow.limits.items()}

    async def _shared(self, name: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        reading = self._reading.get(name)
        if reading is None or reading.done():
            reading = self._reading[name] = asyncio.create_task(read())
        value: T = await asyncio.shield(reading)
        return value

    async def _once(self, name: str, good_s: float, read: Callable[[], Awaitable[T]]) -> T:
        kept = self._kept.get(name)
        if kept is None or kept.until <= self.clock():
            kept = self._kept[name] = Aged(await read(), self.clock() + good_s)
        value: T = kept.value
        return value
