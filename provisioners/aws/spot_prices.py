"""What machines cost on the spot market now: by zone in the account's price history, or by region in a public feed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from provisioners.aws.client import AwsClients

SYSTEM = "Linux/UNIX"


@dataclass(frozen=True, slots=True)
class SpotPrices:
    """$/h by (type, zone), or by type where the source knows no zones."""

    by_zone: Mapping[tuple[str, str], float] = field(default_factory=dict)
    by_type: Mapping[str, float] = field(default_factory=dict)

    def usd_per_hour(self, type_name: str, zone: str) -> float | None:
        return self.by_zone.get((type_name, zone), self.by_type.get(type_name))


async def spot_history(clients: AwsClients, region: str, types: Collection[str], now: float) -> SpotPrices:
    """The price in force now in each zone. Raises ProvisioningError, AuthError where it may not be asked."""
    asked = {
        "StartTime": datetime.fromtimestamp(now, UTC),
        "ProductDescriptions": [SYSTEM],
        "InstanceTypes": sorted(types),
        "MaxResults": 1000,
    }
    newest: dict[tuple[str, str], tuple[datetime, float]] = {}
    doing = f"Reading spot prices of {region}"
    async for page in clients.pages(doing, "ec2", region, "describe_spot_price_history", asked):
        for row in page.get("SpotPriceHistory", []):
            if (found := _price(row)) is not None:
                key, at, usd = found
                if key not in newest or at >= newest[key][0]:
                    newest[key] = at, usd
    return SpotPrices({key: usd for key, (_, usd) in newest.items()})


def _price(row: Mapping[str, Any]) -> tuple[tuple[str, str], datetime, float] | None:
    try:
        usd = float(row["SpotPrice"])
        key = str(row["InstanceType"]), str(row["AvailabilityZone"])
        return (key, row["Timestamp"], usd) if 0 < usd < float("inf") else None
    except (LookupError, ValueError, TypeError):
        return None
