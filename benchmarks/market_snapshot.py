"""Write `planner/data/market.csv`: `market_snapshot.py OFFERS_2026.csv VAST_PRICE_SAMPLES.csv`.

Selects, from price observations of 2025-08 to 2026-08, whole machines that are really sold by Vast.ai, AWS, RunPod and
Lambda: rows that are old, that give a price per GPU of an unknown machine, or that repeat the on-demand price as spot
are left out. Prices are facts restated, none is made up; `available` is our own assumption (see `_copies`).
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from planner.gpus import gpu_named, gpu_types

TARGET = Path(__file__).parents[1] / "planner" / "data" / "market.csv"
HEADER = """\
# Offers seen on public markets, restated by benchmarks/market_snapshot.py; source_date is when each price was seen.
# Sources: karpenter-provider-aws (Apache-2.0), skypilot-catalog, tardellirs/gpu-pricing (MIT),
# hemgo-lexsi/gpu-price-dashboard.
# available: assumed, 4 copies of what a cloud lists on demand, 1 of a single machine or an interruptible price.
"""
COLUMNS = (
    *("offer_id", "provider", "machine", "region", "network", "gpu", "gpu_count", "gpu_memory_gib", "usd_per_hour"),
    *("interruptible", "reliability", "inet_up_gbit_per_s", "inet_down_gbit_per_s", "nvlink", "available"),
    *("source", "source_date"),
)
DROPPED = {"old", "gpu_component_only", "per_gpu_normalised", "sku_price_per_gpu", "spot_at_on_demand_cap"}
ON_DEMAND_REGIONS = ("us-east-1",)
SPOT_REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-north-1")
SOURCES = {"aws": ("karpenter", "skypilot"), "vast": ("skypilot",), "runpod": ("tardellirs", "skypilot")}
OTHER_CARDS = ("T4", "V100-SXM2-16GB", "V100-SXM2-32GB", "B200-SXM-180GB", "B300-SXM")
"""Left out of a table that reaches from the A4000 to the H200."""
Row = dict[str, str]


def main(offers: str, samples: str) -> None:
    rows = [row for row in _read(offers) if _is_wanted(row)]
    kept = sorted((_restated(row) for row in _cheapest(rows)), key=_order)
    kept += sorted(_samples(_read(samples)), key=_order)
    with TARGET.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_with_ids(kept))
    print(f"{TARGET}: {len(kept)} offers", file=sys.stderr)


def _read(path: str) -> list[Row]:
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def _is_wanted(row: Row) -> bool:
    provider, market = row["provider"], row["market"]
    if provider not in ("aws", "vast", "runpod", "lambda") or DROPPED & set(row["flags"].split(";")):
        return False
    if row["gpu"] not in gpu_types() or row["gpu"] in OTHER_CARDS:
        return False
    if provider == "aws" and row["region"] not in (SPOT_REGIONS if market == "spot" else ON_DEMAND_REGIONS):
        return False
    if provider == "runpod" and market in ("spot", "secure"):  # dearer than the community price of the same card
        return False
    return provider == "lambda" or row["source"].startswith(SOURCES[provider])


def _cheapest(rows: Iterable[Row]) -> list[Row]:
    """One row for each provider, market, region, card and number of cards; single cards once for all regions."""
    best: dict[tuple[str, ...], Row] = {}
    for row in rows:
        columns = ["provider", "market", "gpu", "gpu_mem_gb", "gpu_count"]
        if row["provider"] != "lambda" and row["gpu_count"] != "1":
            columns.append("region")
        key = tuple(row[column] for column in columns)
        if key not in best or float(row["price_usd_hr"]) < float(best[key]["price_usd_hr"]):
            best[key] = row
    return list(best.values())


def _restated(row: Row) -> Row:
    provider, gpu, stated = row["provider"], gpu_named(row["gpu"]), float(row["gpu_mem_gb"])
    return {
        "provider": provider,
        "instance_type": row["instance_type"],
        "region": row["region"],
        "network": (row["zone"] or row["region"]) if provider == "aws" else "",
        "gpu": gpu.name,
        "gpu_count": row["gpu_count"],
        "gpu_memory_gib": f"{stated * 0.98:g}" if stated > gpu.memory_gib * 1.1 else "",
        "usd_per_hour": f"{float(row['price_usd_hr']):g}",
        "interruptible": "yes" if row["market"] == "spot" else "no",
        "reliability": row["reliability"],
        "inet_up_gbit_per_s": f"{float(row['net_gbps_baseline']):g}" if row["net_gbps_baseline"] else "",
        "inet_down_gbit_per_s": f"{float(row['net_gbps_baseline']):g}" if row["net_gbps_baseline"] else "",
        "nvlink": "yes" if row["intra_node"] in ("nvlink", "nvswitch") else "no",
        "available": _copies(provider, row["market"]),
        "source": row["source"].split()[0],
        "source_date": row["source_date"],
        "market": row["market"],
    }


def _copies(provider: str, market: str) -> str:
    return "1" if provider == "vast" or market == "spot" else "4"


def _samples(rows: list[Row]) -> Iterator[Row]:
    """The cheapest reliable single-GPU machine of each card in the last observation, at its price and its bid."""
    last = [row for row in rows if row["ts"] == max(row["ts"] for row in rows)]
    for name in sorted({row["gpu"] for row in last}):
        gpu = gpu_named(name, float(next(row["vram_gb"] for row in last if row["gpu"] == name)))
        reliable = [row for row in last if row["gpu"] == name and float(row["reliability"]) >= 0.95]
        if gpu.name in OTHER_CARDS or not reliable:
            continue
        place = min(reliable, key=lambda row: float(row["usd_per_gpu_hr"]))["region"]
        for row in reliable:
            if row["region"] == place:
                yield _sample(row, gpu.name)


def _sample(row: Row, gpu: str) -> Row:
    return {
        "provider": "vast",
        "instance_type": "",
        "machine": f"{gpu} {row['region']} {row['reliability']}",
        "region": row["region"],
        "network": "",
        "gpu": gpu,
        "gpu_count": "1",
        "usd_per_hour": f"{float(row['usd_per_gpu_hr']):g}",
        "interruptible": "yes" if row["market"] == "spot" else "no",
        "reliability": row["reliability"],
        "nvlink": "no",
        "available": "1",
        "source": "hemgo-lexsi/gpu-price-dashboard",
        "source_date": row["ts"][:10],
        "market": row["market"],
    }


def _order(row: Row) -> tuple[str, str, int, str, str]:
    return row["provider"], row["gpu"], int(row["gpu_count"]), row["market"], row["region"]


def _with_ids(rows: Iterable[Row]) -> Iterator[Row]:
    """Names made of what the offer is, numbered where several are alike."""
    seen: dict[str, int] = {}
    for row in rows:
        market, instance_type = row.pop("market").replace("_", "-"), row.pop("instance_type")
        what = instance_type if row["provider"] == "aws" else f"{row['gpu_count']}x{row['gpu']}"
        name = f"{row['provider']}-{what}-{row['network'] or market}"
        seen[name] = seen.get(name, 0) + 1
        yield {**row, "offer_id": name if seen[name] == 1 else f"{name}-{seen[name]}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
