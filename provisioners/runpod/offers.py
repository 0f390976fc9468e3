"""What RunPod sells, in our words: so many GPUs of one type in one data centre → an offer.

On demand and in the secure cloud only, where pods have public addresses: without one an agent can't be reached.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from planner.catalog import Offer
from planner.errors import ProvisioningError, SpecError
from planner.gpus import gpu_named
from planner.market import offer_of
from planner.requirements import CUDA_VERSION
from provisioners.runpod.pods import DISK_USD_PER_GB_HOUR

COUNTS = (1, 2, 4, 8)
STOCK = {"LOW": 1, "MEDIUM": 4, "HIGH": 16}
"""How many pods of a size there are to rent, by the catalogue's words for it: a guess, it gives no number."""
OFFER_ID = re.compile(r"(\d+)x (.+) @ (\S+)")
"""GPUs, their type and the data centre: `2x NVIDIA L40S @ US-KS-2`."""


def sold(body: Any, count: int, disk_gb: float) -> tuple[tuple[Offer, ...], Counter[str]]:
    """The catalogue, asked for pods of `count` GPUs, as offers; and how many types were left out for which reason."""
    rows = body.get("gpus") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise ProvisioningError(f"RunPod's catalogue has no list of GPUs: {str(body)[:100]}.")
    found, left_out = list[Offer](), Counter[str]()
    for row in rows:
        try:
            found.extend(_offers(row, count, disk_gb))
        except SpecError:
            left_out[f"GPU {row['id']!r} is not known"] += 1
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            left_out[f"not understood: {error!r}"] += 1
    return tuple(found), left_out


def _offers(row: Any, count: int, disk_gb: float) -> Iterator[Offer]:
    """What one type has in stock, by data centre. Its price is of one GPU's hour, without disk."""
    if not row["secure"] or count > row["maxCount"]["secure"]:
        return
    gpu = gpu_named(row["id"], float(row["memory"]))
    for data_center in row.get("dataCenters") or ():
        if stock := STOCK.get(data_center["availability"]):
            columns = {
                "offer_id": f"{count}x {row['id']} @ {data_center['id']}",
                "provider": "runpod",
                "region": data_center["id"],
                "gpu": gpu.name,
                "gpu_count": count,
                "usd_per_hour": count * float(row["price"]["secure"]) + disk_gb * DISK_USD_PER_GB_HOUR,
                "disk_gb": disk_gb,
                "available": stock,
                "nvlink": gpu.nvlink_cards > 2,  # boards have it; bridges are rare
                "cuda_version": CUDA_VERSION,
            }
            yield offer_of({name: str(value) for name, value in columns.items()})
