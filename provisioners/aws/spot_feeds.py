"""Spot prices that AWS publishes to everybody, for accounts that may not read the price history.

Two shapes are read. Price lists have dollars by region and size, as JSON or inside a call of JavaScript (`spot.js`).
The advisor has per cent saved against on demand over the last month, so it needs list prices.
"""

import asyncio
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from planner.errors import ProvisioningError

FEEDS = (
    "https://website.spot.ec2.aws.a2z.com/spot.json",
    "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json",
)
"""Asked in this order. The first is what AWS's price page reads, hourly; `spot.js` of S3 has stood still since 2024."""
ANSWER_S = 30.0
MOST_BYTES = 64 << 20
OLD_NAMES = {
    "us-east": "us-east-1",
    "us-west": "us-west-1",
    "eu-ireland": "eu-west-1",
    "apac-sin": "ap-southeast-1",
    "apac-syd": "ap-southeast-2",
    "apac-tokyo": "ap-northeast-1",
}
"""What price lists call the oldest regions."""

Fetch = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class SpotFeed:
    """By region: $/h by type, or the share of the list price that is saved by type."""

    usd_per_hour: Mapping[str, Mapping[str, float]]
    saved: Mapping[str, Mapping[str, float]]

    def prices(self, region: str, listed: Mapping[str, float]) -> dict[str, float]:
        """$/h by type in the region; `listed` are its prices on demand."""
        saved = self.saved.get(region, {})
        by_saving = {name: usd * (1 - saved[name]) for name, usd in listed.items() if name in saved}
        return {**by_saving, **self.usd_per_hour.get(region, {})}


def fetch(url: str) -> str:
    """The document. Raises OSError."""
    with urlopen(url, timeout=ANSWER_S) as answer:
        return bytes(answer.read(MOST_BYTES)).decode(errors="replace")


async def read_feeds(urls: Collection[str], fetch: Fetch = fetch) -> SpotFeed:
    """The first feed that answers and can be read. Raises ProvisioningError where none does."""
    problems = []
    for url in urls:
        try:
            return parse_feed(await asyncio.to_thread(fetch, url))
        except (OSError, ValueError) as error:
            problems.append(f"{url}: {error.reason if isinstance(error, URLError) else error}")
    raise ProvisioningError(f"No feed of spot prices can be read. {'; '.join(problems)}.")


def parse_feed(text: str) -> SpotFeed:
    """A feed of either shape. Raises ValueError for anything else."""
    called = re.fullmatch(r"\s*(?:/\*.*?\*/\s*)?[\w.]+\((.*)\)\s*;?\s*", text, re.DOTALL)
    try:
        document = json.loads(called[1] if called else text)
        if "spot_advisor" in document:
            return SpotFeed({}, {region: _saved(of) for region, of in document["spot_advisor"].items()})
        regions = document["config"]["regions"]
        return SpotFeed({OLD_NAMES.get(one["region"], one["region"]): _dollars(one) for one in regions}, {})
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it has the shape of neither feed: {text[:60]!r}") from error


def _dollars(region: Mapping[str, Any]) -> dict[str, float]:
    """`N/A` stands where a size is not sold."""
    return {
        str(size["size"]): float(usd)
        for kind in region["instanceTypes"]
        for size in kind["sizes"]
        for column in size["valueColumns"]
        if column["name"] == "linux" and _is_number(usd := column["prices"]["USD"])
    }


def _saved(region: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(of["s"]) / 100 for name, of in region.get("Linux", {}).items()}


def _is_number(text: Any) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", str(text)) is not None and float(text) > 0
