"""What machines and volumes cost on demand, by region: AWS's Pricing API, else a dated table."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from provisioners.aws.client import HOME_REGION, AwsClients

STORAGE_USD_PER_GB_MONTH = 0.1
"""Of a gp3 volume, where nobody says: 0.08 in the cheapest regions, 0.1 and a little more in most others."""
VOLUME_TYPE, ON_DEMAND = "gp3", "OnDemand"


@dataclass(frozen=True, slots=True)
class ListPrices:
    """$/h by type and $ a GB and month of a volume, in one region; `as_of` is a date where they are of the table."""

    usd_per_hour: Mapping[str, float]
    storage_usd_per_gb_month: float = STORAGE_USD_PER_GB_MONTH
    as_of: str = ""


async def live_prices(clients: AwsClients, region: str) -> ListPrices:
    """What the region's GPU instances and volumes cost now. Raises ProvisioningError."""
    machines = await _products(
        clients,
        region,
        instanceFamily="GPU instance",
        operatingSystem="Linux",
        tenancy="Shared",
        preInstalledSw="NA",
        capacitystatus="Used",
    )
    volumes = await _products(clients, region, productFamily="Storage", volumeApiName=VOLUME_TYPE)
    storage = volumes.get(VOLUME_TYPE, STORAGE_USD_PER_GB_MONTH)
    return ListPrices({name: usd for name, usd in machines.items() if name != VOLUME_TYPE}, storage)


def dated_prices(region: str) -> ListPrices:
    """What the package knows of the region: nothing of some."""
    text = files("provisioners.aws").joinpath("list_prices.csv").read_text()
    rows = [row for row in csv.DictReader(_uncommented(text)) if row["region"] == region]
    dates = [row["source_date"].split("..")[-1] for row in rows]
    return ListPrices({row["type"]: float(row["usd_per_hour"]) for row in rows}, as_of=min(dates, default=""))


async def _products(clients: AwsClients, region: str, **wanted: str) -> dict[str, float]:
    """Dollars by type of instance or volume, in whatever unit AWS sells it."""
    filters = [
        {"Type": "TERM_MATCH", "Field": name, "Value": value}
        for name, value in {"regionCode": region, **wanted}.items()
    ]
    found: dict[str, float] = {}
    asked = {"ServiceCode": "AmazonEC2", "Filters": filters, "MaxResults": 100}
    async for page in clients.pages(f"Reading prices of {region}", "pricing", HOME_REGION, "get_products", asked):
        for text in page.get("PriceList", []):
            found |= product(text)
    return found


def product(text: Any) -> dict[str, float]:
    """One product as the Pricing API has it, a JSON text → its price by name; {} where it has none to be read."""
    try:
        document = json.loads(text) if isinstance(text, str) else text
        attributes = document["product"]["attributes"]
        [term] = document["terms"]["OnDemand"].values()
        [dimension] = term["priceDimensions"].values()
        usd = float(dimension["pricePerUnit"]["USD"])
        name = str(attributes.get("instanceType") or attributes["volumeApiName"])
    except (LookupError, ValueError, TypeError, AttributeError):
        return {}
    sold = attributes.get("marketoption", ON_DEMAND) == ON_DEMAND  # not a block of capacity, booked ahead
    return {name: usd} if sold and 0 < usd < float("inf") else {}


def _uncommented(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]
