"""Price rises that hosts announced: they take effect when a contract is next renewed."""

from collections.abc import Mapping
from typing import Any

from planner.errors import ProvisioningError
from provisioners.base import PriceRise

SECONDS_AN_HOUR = 3600


def price_rises(body: Any) -> tuple[PriceRise, ...]:
    """Vast's list of pending rises. Raises ProvisioningError where it can't be read: a rise unseen breaks a budget."""
    rows = body.get("pending_price_increases") if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(rows, list) or body.get("truncated"):
        raise ProvisioningError(f"Price rises can't be read; expected the whole list, found {str(body)[:100]!r}.")
    return tuple(_rise(row) for row in rows)


def _rise(row: Any) -> PriceRise:
    try:
        before, after = row["old_gpu_costpersec"], row["new_gpu_costpersec"]
        return PriceRise(
            str(int(row["contract_id"])),
            SECONDS_AN_HOUR * float(before),
            SECONDS_AN_HOUR * float(before if after is None else after),
            float(row.get("contract_end_date") or 0.0),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ProvisioningError(f"A price rise can't be read: {str(row)[:100]!r}.") from error
