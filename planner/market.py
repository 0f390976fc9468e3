"""`Market`: the offers of one moment, from providers, a file, or the dated snapshot in the package.

Figures of the network that a source leaves out take the provider's stated default, else a pessimistic one, and are
named in `Offer.estimated`. Prices of moving data: list prices of 2026, USD per GB (AWS to the internet 0.09 out).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from planner.catalog import Offer
from planner.errors import SpecError
from planner.gpus import gpu_named, gpu_types
from planner.tables import rows_of, table

LEASABLE = frozenset({"local", "ssh", "vast", "runpod", "aws"})
"""Providers that this version can rent from; of all others it knows prices only."""
FOREIGN_PRICE = "price_usd_hr"
"""The column by which a file shows that it has those of `data/markets/offers_2026.csv`."""
WIDTHS = ("inet_up_gbit_per_s", "inet_down_gbit_per_s")
LEFT_OUT_FLAGS = frozenset({"old", "gpu_component_only"})
MODDED_MEMORY = 1.1
"""A card with this many times its type's memory has been given more, and its own figure is believed."""


class Interruptible(StrEnum):
    """May offers be planned with that the provider can take back?"""

    ALLOW = "allow"
    ONLY = "only"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Source:
    """How asking a provider for its live offers went; `problem` is why there are none."""

    provider: str
    live: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Market:
    """What was on sale `as_of` (RFC 3339); `source` is `live`, or `snapshot` or `file` where any of it is from there.

    `sources` are the providers that were asked.
    """

    offers: tuple[Offer, ...]
    as_of: str
    source: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkDefaults:
    """What a provider gives where an offer does not say: Gbit/s each way, USD per GB to and from the internet."""

    gbit_per_s: float
    egress_usd_per_gb: float
    ingress_usd_per_gb: float = 0.0


PESSIMISTIC = NetworkDefaults(gbit_per_s=0.5, egress_usd_per_gb=0.05)
NETWORK_DEFAULTS: Mapping[str, NetworkDefaults] = {
    "aws": NetworkDefaults(gbit_per_s=2.5, egress_usd_per_gb=0.09),
    "runpod": NetworkDefaults(gbit_per_s=1.0, egress_usd_per_gb=0.0),
    "lambda": NetworkDefaults(gbit_per_s=1.0, egress_usd_per_gb=0.0),
    "ssh": NetworkDefaults(gbit_per_s=1.0, egress_usd_per_gb=0.0),
    "local": NetworkDefaults(gbit_per_s=10.0, egress_usd_per_gb=0.0),
}


@cache
def snapshot() -> Market:
    """The dated offers in the package, for planning only: nobody rents them out under these names."""
    rows = table("market")
    newest = max(row["source_date"].split("..")[-1] for row in rows)
    offers = tuple(replace(offer_of(row, f"row-{i}"), leasable=False) for i, row in enumerate(rows, 1))
    return Market(offers, f"{newest}T00:00:00Z", "snapshot")


def eligible(
    market: Market,
    *,
    providers: Collection[str] = (),
    interruptible: Interruptible = Interruptible.ALLOW,
    regions: Collection[str] = (),
    min_reliability: float = 0.0,
) -> Market:
    """The offers a spec allows; empty collections allow all, and a reliability nobody states passes."""
    wanted = {Interruptible.ALLOW: (True, False), Interruptible.ONLY: (True,), Interruptible.NEVER: (False,)}
    offers = tuple(
        offer
        for offer in market.offers
        if (not providers or offer.provider in providers)
        and offer.interruptible in wanted[interruptible]
        and (not regions or any(region.lower() in offer.region.lower() for region in regions))
        and (offer.reliability is None or offer.reliability >= min_reliability)
    )
    return replace(market, offers=offers)


def offers_from_csv(text: str, name: str) -> tuple[Offer, ...]:
    """Offers of a file in either column style; SpecError names the line of a bad row."""
    offers = []
    for number, (line, row) in enumerate(rows_of(text, f"Offers {name}", _columns_asked), 1):
        foreign = FOREIGN_PRICE in row
        if foreign and _is_left_out(row):
            continue
        try:
            offers.append(offer_of(_renamed(row) if foreign else row, f"row-{number}"))
        except (ValueError, SpecError) as error:
            raise SpecError(f"Offers {name}, line {line}: {error}") from error
    _check_ids(offers, name)
    return tuple(offers)


def _columns_asked(header: Collection[str]) -> tuple[str, ...]:
    return "provider", "gpu", "gpu_count", FOREIGN_PRICE if FOREIGN_PRICE in header else "usd_per_hour"


def _is_left_out(row: Mapping[str, str]) -> bool:
    """Old or partial prices, and cards that our GPU table does not have."""
    return bool(LEFT_OUT_FLAGS & set((row.get("flags") or "").split(";"))) or row["gpu"] not in _market_gpus()


@cache
def _market_gpus() -> frozenset[str]:
    return frozenset({*gpu_types(), "A100-80GB", "A100-40GB", "H100-80GB"})


def _renamed(row: Mapping[str, str]) -> dict[str, str]:
    """A row of `offers_2026.csv` under our column names."""
    gpu = gpu_named(row["gpu"], float(row.get("gpu_mem_gb") or 0))
    stated = float(row.get("gpu_mem_gb") or 0)
    bandwidth = row.get("net_gbps_baseline") or ""
    return {
        "provider": row["provider"],
        "gpu": gpu.name,
        "gpu_count": row["gpu_count"],
        "usd_per_hour": row["price_usd_hr"],
        "region": row.get("region") or "",
        "network": (row.get("zone") or row.get("region") or "") if row["provider"] == "aws" else "",
        "gpu_memory_gib": f"{stated * 0.98:g}" if stated > gpu.memory_gib * MODDED_MEMORY else "",
        "interruptible": str(row.get("market") == "spot"),
        "reliability": row.get("reliability") or "",
        "inet_down_gbit_per_s": bandwidth,
        "inet_up_gbit_per_s": bandwidth,
        "nvlink": str((row.get("intra_node") or "") in ("nvlink", "nvswitch")),
        "ram_gb": row.get("mem_gb") or "",
    }


def offer_of(row: Mapping[str, str], fallback_id: str = "") -> Offer:
    """An offer of a row in our columns; those of the network that it leaves out take its provider's defaults.

    One that does not say by which name it is sold can't be leased.

    ValueError says what is wrong with a value, SpecError that its GPU is not known.
    """
    gpu = gpu_named(row["gpu"], _number(row, "gpu_memory_gib", 0.0))
    provider = row["provider"].strip()
    if not provider:
        raise ValueError("provider is empty; expected who rents the machine out.")
    defaults = NETWORK_DEFAULTS.get(provider, PESSIMISTIC)
    network = {column: _above_0(row, column, defaults.gbit_per_s) for column in WIDTHS}
    network["egress_usd_per_gb"] = _number(row, "egress_usd_per_gb", defaults.egress_usd_per_gb)
    network["ingress_usd_per_gb"] = _number(row, "ingress_usd_per_gb", defaults.ingress_usd_per_gb)
    reliability = _part(row, "reliability")
    return Offer(
        offer_id=row.get("offer_id") or fallback_id,
        provider=provider,
        region=row.get("region") or "",
        gpu=gpu,
        gpu_count=_whole(row, "gpu_count", 1),
        usd_per_hour=_number(row, "usd_per_hour", None),
        interruptible=_flag(row, "interruptible"),
        machine=row.get("machine") or "",
        network=row.get("network") or "",
        gpu_memory_gib=_number(row, "gpu_memory_gib", gpu.memory_gib),
        disk_gb=_number(row, "disk_gb", 0.0),
        ram_gb=_number(row, "ram_gb", 0.0),
        cuda_version=_number(row, "cuda_version", 0.0),
        driver_version=_version(row, "driver_version"),
        reliability=reliability,
        available=_whole(row, "available", 1),
        nvlink=_flag(row, "nvlink"),
        leasable=provider in LEASABLE and bool(row.get("offer_id")),
        estimated=tuple(column for column in network if not row.get(column)),
        **network,
    )


def _number(row: Mapping[str, str], column: str, default: float | None) -> float:
    text = (row.get(column) or "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{column} is {text!r}; expected a number of 0 or more.")
    return value


def _part(row: Mapping[str, str], column: str) -> float | None:
    """None where it is not stated."""
    value = _number(row, column, -1.0)
    if value > 1:
        raise ValueError(f"{column} is {row[column]!r}; expected a part of 1, such as {min(value / 100, 1):g}.")
    return value if value >= 0 else None


def _above_0(row: Mapping[str, str], column: str, default: float) -> float:
    value = _number(row, column, default)
    if not value:
        raise ValueError(f"{column} is {row.get(column)!r}; expected a number above 0, or nothing where it is unknown.")
    return value


def _whole(row: Mapping[str, str], column: str, default: int) -> int:
    value = _number(row, column, float(default))
    if value != int(value) or value < 1:
        raise ValueError(f"{column} is {row.get(column)!r}; expected a whole number above 0.")
    return int(value)


def _version(row: Mapping[str, str], column: str) -> float:
    """The first two numbers of a version such as 575.51.03; 0 where none is stated."""
    text = (row.get(column) or "").strip()
    return _number({column: ".".join(text.split(".")[:2])}, column, 0.0)


def _flag(row: Mapping[str, str], column: str) -> bool:
    text = (row.get(column) or "no").strip().lower()
    if text not in ("yes", "no", "true", "false", "1", "0"):
        raise ValueError(f"{column} is {row.get(column)!r}; expected yes or no.")
    return text in ("yes", "true", "1")


def _check_ids(offers: Iterable[Offer], name: str) -> None:
    seen: set[str] = set()
    for offer in offers:
        if offer.offer_id in seen:
            raise SpecError(f"Offers {name} have offer_id {offer.offer_id!r} twice; expected it once.")
        seen.add(offer.offer_id)
