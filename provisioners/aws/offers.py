"""What AWS sells, in our words: a type in a zone, on demand and spot → offers.

The price is all that a machine costs: the instance, its volume and its address. A zone is a network of its own: inside
it private addresses cost nothing. What can't be rented is left out, and counted by the reason.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite

from planner.catalog import Offer
from planner.errors import SpecError
from planner.market import NETWORK_DEFAULTS
from provisioners.aws.instance_types import InstanceType, Types
from provisioners.aws.list_prices import ListPrices
from provisioners.aws.offer_ids import OfferId
from provisioners.aws.quotas import Quota, quota_of
from provisioners.aws.spot_prices import SpotPrices
from provisioners.aws.volume import Volume

MONTH_H = 730.0
ADDRESS_USD_PER_HOUR = 0.005
"""Of a public IPv4 address, in every region (since 2024-02)."""
IMAGE_DISK_GB = 75.0
"""What the machine image itself takes of the volume: the Deep Learning base image, rounded up."""
ASSUMED_COPIES = {False: 4, True: 1}
"""Where a quota is not known, by interruptible: as the dated snapshot assumes."""
MOST_COPIES = 16


@dataclass(frozen=True, slots=True)
class SpotPolicy:
    """An interruptible machine may come to cost `margin` times what it costs now, but no more than on demand or a cap.

    That is what is offered and asked for; AWS bills the market's price, and takes the machine back above ours.
    """

    margin: float = 1.2
    most_usd_per_gpu_hour: float = inf

    def __post_init__(self) -> None:
        if not self.margin >= 1:
            raise SpecError(f"The spot margin is {self.margin}; expected 1 or more: a lower price never runs.")

    def most_usd_per_hour(self, now_usd_per_hour: float, listed_usd_per_hour: float | None, gpus: int) -> float | None:
        """Of the instance alone, in all; None where the market is above the cap."""
        cap = self.most_usd_per_gpu_hour * gpus
        if now_usd_per_hour > cap:
            return None
        most = now_usd_per_hour * self.margin
        if listed_usd_per_hour is not None:
            most = max(now_usd_per_hour, min(most, listed_usd_per_hour))
        return min(most, cap)

    @property
    def in_words(self) -> str:
        cap = f", {self.most_usd_per_gpu_hour:g} $/h a GPU at most" if isfinite(self.most_usd_per_gpu_hour) else ""
        return f"{self.margin:g} times the market's price now, no more than on demand{cap}"


@dataclass(frozen=True, slots=True)
class RegionMarket:
    """What one region sells: types, the zones that have each, prices, and vCPUs still free under each known quota."""

    region: str
    types: Types
    zones: Mapping[str, frozenset[str]]
    listed: ListPrices
    spot: SpotPrices
    free_vcpus: Mapping[Quota, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sold:
    """Offers, and how many were left out for which reason."""

    offers: tuple[Offer, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)


def sold(market: RegionMarket, disk_gb: float, policy: SpotPolicy) -> Sold:
    """Every type in every zone that has it, on each market that it is sold on."""
    found, left_out = [], Counter(market.types.left_out)
    for name, zones in sorted(market.zones.items()):
        kind = market.types.by_name.get(name)
        for offer_id in [] if kind is None else _ids(market.region, kind, zones):
            usd = compute_usd_per_hour(market, offer_id, policy)
            copies = available(market, offer_id)
            if usd is None:
                left_out["without a price, or with one above the cap"] += 1
            elif copies < 1:
                left_out[f"more vCPUs than the quota {_quota_name(offer_id)} of {market.region} leaves"] += 1
            else:
                beside = beside_usd_per_hour(disk_gb, market.listed.storage_usd_per_gb_month)
                found.append(offer_of(market, offer_id, usd + beside, copies, disk_gb))
    return Sold(tuple(found), left_out)


def compute_usd_per_hour(market: RegionMarket, offer: OfferId, policy: SpotPolicy) -> float | None:
    """$/h of the instance alone; None where nobody says, or that is above the cap."""
    listed = market.listed.usd_per_hour.get(offer.type_name)
    if not offer.interruptible:
        return listed
    now = market.spot.usd_per_hour(offer.type_name, offer.zone)
    gpus = market.types.by_name[offer.type_name].gpu_count
    return None if now is None else policy.most_usd_per_hour(now, listed, gpus)


def beside_usd_per_hour(disk_gb: float, storage_usd_per_gb_month: float) -> float:
    """$/h of the volume and the address."""
    volume = Volume.of(disk_gb, IMAGE_DISK_GB)
    return volume.usd_per_month(storage_usd_per_gb_month) / MONTH_H + ADDRESS_USD_PER_HOUR


def available(market: RegionMarket, offer: OfferId) -> int:
    """How many of it the account may rent; assumed where the quota is not known."""
    quota = quota_of(offer.type_name, interruptible=offer.interruptible)
    if quota is None or quota not in market.free_vcpus:
        return ASSUMED_COPIES[offer.interruptible]
    return int(min(MOST_COPIES, market.free_vcpus[quota] // market.types.by_name[offer.type_name].vcpus))


def offer_of(market: RegionMarket, offer: OfferId, usd_per_hour: float, copies: int, disk_gb: float) -> Offer:
    kind, network = market.types.by_name[offer.type_name], NETWORK_DEFAULTS["aws"]
    unsure = [] if kind.bandwidth_known else ["inet_up_gbit_per_s", "inet_down_gbit_per_s"]
    if market.listed.as_of or (offer.interruptible and (offer.type_name, offer.zone) not in market.spot.by_zone):
        unsure.append("usd_per_hour")
    return Offer(
        offer_id=str(offer),
        provider="aws",
        region=offer.region,
        gpu=kind.gpu,
        gpu_count=kind.gpu_count,
        usd_per_hour=usd_per_hour,
        interruptible=offer.interruptible,
        network=offer.zone,
        gpu_memory_gib=kind.gpu_memory_gib,
        disk_gb=disk_gb,
        inet_up_gbit_per_s=kind.gbit_per_s,
        inet_down_gbit_per_s=kind.gbit_per_s,
        egress_usd_per_gb=network.egress_usd_per_gb,
        ingress_usd_per_gb=network.ingress_usd_per_gb,
        available=copies,
        nvlink=kind.nvlink,
        ram_gb=kind.ram_gb,
        estimated=("egress_usd_per_gb", *unsure),
    )


def _ids(region: str, kind: InstanceType, zones: frozenset[str]) -> list[OfferId]:
    markets = (False, True) if kind.spot else (False,)
    return [OfferId(region, zone, kind.name, interruptible) for interruptible in markets for zone in sorted(zones)]


def _quota_name(offer: OfferId) -> str:
    return str(quota_of(offer.type_name, interruptible=offer.interruptible))
