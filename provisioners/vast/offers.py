"""What Vast.ai sells, in our words: bundles of GPUs on one host's machine → offers.

A machine is sold in several sizes at once, and each on demand and by bid: `Offer.machine` ties them together. Disk is
priced in, and an offer has as much of it as was asked for, never the host's whole disk. What can't work is left out
before it costs anything, and counted by the reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.catalog import Offer
from planner.errors import SpecError
from planner.gpus import gpu_named
from planner.market import MODDED_MEMORY, PESSIMISTIC
from provisioners.vast.asks import AskId
from provisioners.vast.bids import BidPolicy
from provisioners.vast.fields import number, optional, verified, version
from provisioners.vast.needs import Needs

MONTH_H = 30 * 24
"""Vast prices storage by the month and does not say of how many days; this is the dearest it can mean."""
USABLE_MEMORY = 0.98
MOST_MODDED = 4.0
"""Cards were seen with twice their type's memory soldered on; a figure far beyond is not that of a card."""


@dataclass(frozen=True, slots=True)
class Sold:
    """Offers, how many bundles were left out for which reason, and what storage costs by the ask's number."""

    offers: tuple[Offer, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    storage_usd_per_gb_hour: Mapping[int, float] = field(default_factory=dict)


def sold(bundles: Iterable[Any], needs: Needs, bids: BidPolicy | None) -> Sold:
    """The bundles as offers: interruptible at what `bids` would pay, on demand without it."""
    found, left_out, storage = [], Counter[str](), {}
    for bundle in bundles:
        try:
            if reason := unfit(bundle, needs, bids):
                left_out[reason] += 1
            else:
                found.append(offer_of(bundle, needs, bids))
                storage[int(bundle["id"])] = storage_usd_per_gb_hour(bundle)
        except SpecError:
            left_out[f"with a GPU {bundle.get('gpu_name')!r} that is not known"] += 1
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            left_out[f"not understood: {error}"] += 1
    return Sold(tuple(found), left_out, storage)


def unfit(bundle: Mapping[str, Any], needs: Needs, bids: BidPolicy | None = None) -> str:
    """Which need it does not meet, whatever the search was asked for; empty if none.

    What its host must have is met only where it is stated.
    """
    stated = {**bundle, "verified": verified(bundle)}
    for name, test in (needs.cards | needs.machines | needs.hosts).items():
        [(operator, limit)] = test.items()
        found = stated.get(name)
        if found is None and name in needs.hosts:
            return f"whose {name} is not stated"
        if found is not None and (found != limit if operator == "eq" else not found >= limit):
            return needs.in_words.get(name, f"whose {name} is {found}")
    return "whose lowest bid is above the cap" if bids and bids.too_dear(bundle) else ""


def offer_of(bundle: Mapping[str, Any], needs: Needs, bids: BidPolicy | None) -> Offer:
    """A bundle as an offer. Raises SpecError for a GPU we don't know, ValueError for a field that can't be read.

    `inet_up` and `inet_down` are taken as Mbit/s. The API's schema says MB/s, and other tools' filters make sense only
    as Mbit/s; so they are marked as estimated.
    """
    stated_gib = number(bundle, "gpu_ram") / 1024
    gpu = gpu_named(str(bundle["gpu_name"]), stated_gib)
    modded = MODDED_MEMORY < stated_gib / gpu.memory_gib <= MOST_MODDED
    absent = [name for name in ("inet_up_cost", "inet_down_cost") if bundle.get(name) is None]
    return Offer(
        offer_id=str(AskId(int(bundle["id"]), needs.disk_gb, bids is not None)),
        provider="vast",
        region=str(bundle.get("geolocation") or "").strip(", "),
        gpu=gpu,
        gpu_count=int(bundle["num_gpus"]),
        usd_per_hour=price(bundle, needs.disk_gb, bids),
        interruptible=bids is not None,
        machine=str(int(bundle["machine_id"])),
        gpu_memory_gib=stated_gib * USABLE_MEMORY if modded else min(stated_gib, gpu.memory_gib),
        disk_gb=needs.disk_gb,
        reliability=optional(bundle, "reliability2", optional(bundle, "reliability", None)),
        inet_up_gbit_per_s=number(bundle, "inet_up", 0.0) / 1e3 or PESSIMISTIC.gbit_per_s,
        inet_down_gbit_per_s=number(bundle, "inet_down", 0.0) / 1e3 or PESSIMISTIC.gbit_per_s,
        egress_usd_per_gb=number(bundle, "inet_up_cost", PESSIMISTIC.egress_usd_per_gb),
        ingress_usd_per_gb=number(bundle, "inet_down_cost", PESSIMISTIC.ingress_usd_per_gb),
        nvlink=number(bundle, "bw_nvlink", 0.0) > 0,
        ram_gb=_share_of_ram_gb(bundle),
        cuda_version=number(bundle, "cuda_max_good", 0.0),
        driver_version=version(bundle.get("driver_version")),
        estimated=("inet_up_gbit_per_s", "inet_down_gbit_per_s", *(_ESTIMATED[name] for name in absent)),
    )


_ESTIMATED = {"inet_up_cost": "egress_usd_per_gb", "inet_down_cost": "ingress_usd_per_gb"}


def price(bundle: Mapping[str, Any], disk_gb: float, bids: BidPolicy | None) -> float:
    """$/h with storage: on demand Vast's own sum for the storage it was asked for, else our bid and the storage."""
    if bids is None:
        return number(bundle, "dph_total")
    return bids.usd_per_hour(bundle) + disk_gb * storage_usd_per_gb_hour(bundle)


def storage_usd_per_gb_hour(bundle: Mapping[str, Any]) -> float:
    return number(bundle, "storage_cost") / MONTH_H


def _share_of_ram_gb(bundle: Mapping[str, Any]) -> float:
    """`cpu_ram` (MB) is the whole machine's; what comes with these GPUs goes by their part of its cores."""
    ram_gb, cores = number(bundle, "cpu_ram", 0.0) / 1e3, number(bundle, "cpu_cores", 0.0)
    return ram_gb * min(1.0, number(bundle, "cpu_cores_effective", cores) / cores) if cores else ram_gb
