"""Answers of AWS that are large, that can't be understood, or that many wait for at once."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from planner.errors import AuthError
from provisioners.aws.client import MOST_FILTERED
from provisioners.aws.instance_types import Types
from provisioners.aws.instances import listing
from provisioners.aws.list_prices import ListPrices
from provisioners.aws.market import MarketReader, Slow
from provisioners.base import Label
from tests.provisioners.fakes import OWNER

REGION = "eu-west-1"


class Answering:
    """Clients that list these rows, and say of every spot request that its machine is taken back."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows

    async def pages(self, *_asked):
        yield {"Reservations": [{"Instances": list(self.rows)}]}

    async def call(self, _doing, _service, _region, _operation, asked):
        [one] = asked["Filters"]
        assert len(one["Values"]) <= MOST_FILTERED
        status = {"Code": "marked-for-termination"}
        return {"SpotInstanceRequests": [{"SpotInstanceRequestId": name, "Status": status} for name in one["Values"]]}


def spot_row(number: int) -> dict[str, Any]:
    tags = {"thunder:label": str(Label(OWNER, "d", f"lease-{number}")), "thunder:usd-per-hour": "1.0"}
    return {
        "InstanceId": f"i-{number}",
        "InstanceLifecycle": "spot",
        "SpotInstanceRequestId": f"sir-{number}",
        "State": {"Name": "running"},
        "LaunchTime": datetime(2026, 11, 1, tzinfo=UTC),
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


async def no_price(*_asked) -> None:
    return None


async def test_of_more_spot_machines_than_a_filter_takes_all_are_told_of_before_they_are_gone():
    rows = [spot_row(number) for number in range(2 * MOST_FILTERED + 1)]
    found = await listing(Answering(*rows), [REGION], no_price)
    assert found.complete
    assert [one for one in found.machines if "takes it back" not in one.problem] == []


async def test_a_spot_machine_without_an_id_makes_the_listing_incomplete_and_no_crash():
    nameless = {name: value for name, value in spot_row(1).items() if name != "InstanceId"}
    found = await listing(Answering(nameless, spot_row(2)), [REGION], no_price)
    assert not found.complete
    assert [machine.provider_id for machine in found.machines] == [f"{REGION}/i-2"]


class Refusing:
    """Clients that may not read spot prices."""

    async def pages(self, *_asked):
        raise AuthError("not allowed")
        yield


class Known(MarketReader):
    """Knows what is the same for hours."""

    async def _slow(self, region: str) -> Slow:
        return Slow(Types({}, Counter()), {}, ListPrices({}), None)


async def test_a_public_feed_is_fetched_once_for_all_regions():
    fetched = []

    def fetch(url: str) -> str:
        fetched.append(url)
        return '{"config": {"regions": []}}'

    reader = Known(Refusing(), feeds=["x"], fetch=fetch)
    await asyncio.gather(*(reader.market(region) for region in ("eu-west-1", "us-east-1", "us-west-2")))
    assert fetched == ["x"]
