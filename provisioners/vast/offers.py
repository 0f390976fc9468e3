"""What Vast.ai sells, in our words: bundles of GPUs on one host's machine → offers.

A machine is sold in several sizes at once, and each on demand and by bid: `Offer.machine` ties them together. Disk is
priced in, and an offer has as much of it as was asked for, never the host's whole disk. What can't work is left out
before it costs anything, and counted by the reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from planner.catalog import Offer
from planner.errors import SpecError
from planner.gpus import gpu_named, gpu_types
from planner.market import MODDED_MEMORY, PESSIMISTIC
from planner.requirements import COMPUTE_CAPABILITY, CUDA_VERSION

BID = "-bid"
MONTH_H = 30 * 24
"""Vast prices storage by the month and does not say of how many days; this is the dearest it can mean."""
LEAST_CARD = 0.9
"""Hosts state a little less memory than a card's type has."""
USABLE_MEMORY = 0.98


@dataclass(frozen=True, slots=True)
class Needs:
    """What a machine must have for an engine to run on it, as far as an offer says; the engine's part is vLLM's.

    `ports` are those that must be reachable from outside: the agent's, and SSH. `max_hours` is how long it is wanted.
    """

    disk_gb: float = 120.0
    max_hours: float = 12.0
    ports: int = 2
    cuda_version: float = CUDA_VERSION
    compute_capability: float = COMPUTE_CAPABILITY

    @property
    def filters(self) -> dict[str, dict[str, Any]]:
        """As the search takes them: field → operator → limit, in raw API units (MB, seconds, capability × 100)."""
        least_gib = min(gpu.memory_gib for gpu in gpu_types().values() if gpu.compute_capability)
        return {
            "verified": {"eq": True},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "external": {"eq": False},
            "gpu_ram": {"gte": LEAST_CARD * least_gib * 1024},
            "compute_cap": {"gte": round(100 * self.compute_capability)},
            "cuda_max_good": {"gte": self.cuda_version},
            "disk_space": {"gte": self.disk_gb},
            "direct_port_count": {"gte": self.ports},
            "duration": {"gte": 3600 * self.max_hours},
        }


@dataclass(frozen=True, slots=True)
class BidPolicy:
    """What is bid for an interruptible machine: `factor` times the lowest bid that would win now.

    The same bid is paid however far the market falls; one that the market passes stops the machine.
    """

    factor: float = 1.2

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise SpecError(f"The bid factor is {self.factor}; expected 1 or more: a lower bid never runs.")

    def usd_per_hour(self, bundle: Mapping[str, Any]) -> float:
        """For the GPUs, without storage."""
        return _number(bundle, "min_bid") * self.factor


@dataclass(frozen=True, slots=True)
class Sold:
    """Offers, how many bundles were left out for which reason, and what storage costs by offer."""

    offers: tuple[Offer, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    storage_usd_per_gb_hour: Mapping[str, float] = field(default_factory=dict)


def sold(bundles: Iterable[Any], needs: Needs, bids: BidPolicy | None) -> Sold:
    """The bundles as offers: interruptible at what `bids` would pay, on demand without it."""
    found, left_out, storage = [], Counter[str](), {}
    for bundle in bundles:
        try:
            if reason := unfit(bundle, needs):
                left_out[reason] += 1
            else:
                found.append(offer := offer_of(bundle, needs, bids))
                storage[offer.offer_id] = storage_usd_per_gb_hour(bundle)
        except SpecError:
            left_out[f"GPU {bundle.get('gpu_name')!r} is not known"] += 1
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            left_out[f"not understood: {error}"] += 1
    return Sold(tuple(found), left_out, storage)


def unfit(bundle: Mapping[str, Any], needs: Needs) -> str:
    """Which need it states that it does not meet, whatever the search was asked for; empty if none."""
    for name, test in needs.filters.items():
        [(operator, limit)] = test.items()
        found = bundle.get(name)
        if found is not None and (found != limit if operator == "eq" else not found >= limit):
            return f"{name} too low" if operator == "gte" else f"{name} is {found}"
    return ""


def offer_of(bundle: Mapping[str, Any], needs: Needs, bids: BidPolicy | None) -> Offer:
    """A bundle as an offer. Raises SpecError for a GPU we don't know, ValueError for a field that can't be read.

    `inet_up` and `inet_down` are taken as Mbit/s. The API's schema says MB/s, and other tools' filters make sense only
    as Mbit/s; so they are marked as estimated.
    """
    stated_gib = _number(bundle, "gpu_ram") / 1024
    gpu = gpu_named(str(bundle["gpu_name"]), stated_gib)
    modded = stated_gib > gpu.memory_gib * MODDED_MEMORY
    absent = [name for name in ("inet_up_cost", "inet_down_cost") if bundle.get(name) is None]
    return Offer(
        offer_id=f"{int(bundle['id'])}{BID if bids else ''}",
        provider="vast",
        region=str(bundle.get("geolocation") or "").strip(", "),
        gpu=gpu,
        gpu_count=int(bundle["num_gpus"]),
        usd_per_hour=price(bundle, needs.disk_gb, bids),
        interruptible=bids is not None,
        machine=str(int(bundle["machine_id"])),
        gpu_memory_gib=stated_gib * USABLE_MEMORY if modded else min(stated_gib, gpu.memory_gib),
        disk_gb=needs.disk_gb,
        reliability=_optional(bundle, "reliability2", _optional(bundle, "reliability", None)),
        inet_up_gbit_per_s=_number(bundle, "inet_up", 0.0) / 1e3 or PESSIMISTIC.gbit_per_s,
        inet_down_gbit_per_s=_number(bundle, "inet_down", 0.0) / 1e3 or PESSIMISTIC.gbit_per_s,
        egress_usd_per_gb=_number(bundle, "inet_up_cost", PESSIMISTIC.egress_usd_per_gb),
        ingress_usd_per_gb=_number(bundle, "inet_down_cost", PESSIMISTIC.ingress_usd_per_gb),
        nvlink=_number(bundle, "bw_nvlink", 0.0) > 0,
        ram_gb=_share_of_ram_gb(bundle),
        cuda_version=_number(bundle, "cuda_max_good", 0.0),
        driver_version=_version(bundle.get("driver_version")),
        estimated=("inet_up_gbit_per_s", "inet_down_gbit_per_s", *(_ESTIMATED[name] for name in absent)),
    )


_ESTIMATED = {"inet_up_cost": "egress_usd_per_gb", "inet_down_cost": "ingress_usd_per_gb"}


def price(bundle: Mapping[str, Any], disk_gb: float, bids: BidPolicy | None) -> float:
    """$/h with storage: on demand Vast's own sum for the storage it was asked for, else our bid and the storage."""
    if bids is None:
        return _number(bundle, "dph_total")
    return bids.usd_per_hour(bundle) + disk_gb * storage_usd_per_gb_hour(bundle)


def storage_usd_per_gb_hour(bundle: Mapping[str, Any]) -> float:
    return _number(bundle, "storage_cost") / MONTH_H


def _share_of_ram_gb(bundle: Mapping[str, Any]) -> float:
    """`cpu_ram` (MB) is the whole machine's; what comes with these GPUs goes by their part of its cores."""
    ram_gb, cores = _number(bundle, "cpu_ram", 0.0) / 1e3, _number(bundle, "cpu_cores", 0.0)
    return ram_gb * min(1.0, _number(bundle, "cpu_cores_effective", cores) / cores) if cores else ram_gb


def _number(bundle: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = bundle.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}; expected a number of 0 or more")
    return float(value)


def _optional(bundle: Mapping[str, Any], name: str, default: float | None) -> float | None:
    return default if bundle.get(name) is None else _number(bundle, name)


def _version(text: Any) -> float:
    """The first two numbers of a version such as 575.51.03; 0 where none is stated."""
    parts = str(text or "").split(".")[:2]
    return float(".".join(parts)) if all(part.isdigit() for part in parts) else 0.0
