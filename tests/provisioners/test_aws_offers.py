"""What AWS sells: types and prices as its APIs state them, quotas, and what is taken where an account may not ask."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import ProvisioningError, SpecError
from provisioners.aws.instance_types import instance_types
from provisioners.aws.list_prices import dated_prices, product
from provisioners.aws.market import SLOW_S, MarketReader
from provisioners.aws.offer_ids import OfferId
from provisioners.aws.offers import SpotPolicy, beside_usd_per_hour
from provisioners.aws.quotas import QUOTAS, quota_of
from provisioners.aws.spot_feeds import fetch, parse_feed, read_feeds
from tests.provisioners.aws_world import ELSEWHERE, REGION, SMALL, SMALL_SPOT, QuickReader, aws_world, rented

PRICE_LIST = {
    "vers": 0.01,
    "config": {
        "rate": "perhr",
        "valueColumns": ["linux", "mswin"],
        "currencies": ["USD"],
        "regions": [
            {
                "region": "us-east",
                "instanceTypes": [
                    {
                        "type": "gpuInstances",
                        "sizes": [
                            {
                                "size": "g5.xlarge",
                                "valueColumns": [
                                    {"name": "linux", "prices": {"USD": "0.5460"}},
                                    {"name": "mswin", "prices": {"USD": "0.7"}},
                                ],
                            },
                            {"size": "p3.2xlarge", "valueColumns": [{"name": "linux", "prices": {"USD": "N/A*"}}]},
                        ],
                    }
                ],
            },
            {"region": "eu-central-1", "instanceTypes": []},
        ],
    },
}
ADVISOR = {
    "global_rate": "<10%",
    "ranges": [{"index": 0, "label": "<5%", "dots": 0, "max": 5}, {"index": 4, "label": ">20%", "dots": 4, "max": 100}],
    "instance_types": {"g5.xlarge": {"emr": True, "cores": 4, "ram_gb": 16.0}},
    "spot_advisor": {"us-east-1": {"Linux": {"g5.xlarge": {"s": 60, "r": 4}}, "Windows": {}}},
}


@pytest.fixture
def world():
    with aws_world() as made:
        yield made


@pytest.fixture(scope="module")
def us_east():
    """The offers of one region, by id, as they are for an account that may ask everything."""
    with aws_world() as made:
        provisioner = made.provisioner()
        yield {offer.offer_id: offer for offer in asyncio.run(provisioner.offers())}, provisioner.left_out


def named(us_east, type_name: str, market: str = "on-demand", zone: str = "us-east-1a"):
    return us_east[0][f"aws:us-east-1:{zone}:{type_name}:{market}"]


def test_a_type_is_offered_on_both_markets_in_every_zone_that_has_it(us_east):
    found = [OfferId.parse(name) for name in us_east[0]]
    small = [one for one in found if one.type_name == "g5.xlarge"]
    assert {one.zone[-1] for one in small} == set("abcdf")
    assert len(small) == 10
    assert {one.zone for one in found if one.type_name == "p4d.24xlarge"} < {one.zone for one in small}


@pytest.mark.parametrize(
    ("type_name", "gpu", "count", "nvlink", "gbit_per_s"),
    [
        ("g5.xlarge", "A10G", 1, False, 2.5),
        ("g5.48xlarge", "A10G", 8, False, 100.0),
        ("g6e.12xlarge", "L40S", 4, False, 100.0),
        ("g7e.2xlarge", "RTXPRO6000-SE", 1, False, 50.0),
        ("p4d.24xlarge", "A100-SXM4-40GB", 8, True, 100.0),
        ("p4de.24xlarge", "A100-SXM4-80GB", 8, True, 100.0),
        ("p5.4xlarge", "H100-SXM5-80GB", 1, False, 100.0),
        ("p5en.48xlarge", "H200-SXM-141GB", 8, True, 200.0),
    ],
)
def test_a_type_has_its_gpus_its_links_and_what_its_network_always_gives(
    us_east, type_name, gpu, count, nvlink, gbit_per_s
):
    offer = next(one for name, one in us_east[0].items() if f":{type_name}:" in name)
    assert (offer.gpu.name, offer.gpu_count, offer.nvlink) == (gpu, count, nvlink)
    assert offer.inet_up_gbit_per_s == offer.inet_down_gbit_per_s == gbit_per_s
    assert offer.network == OfferId.parse(offer.offer_id).zone
    assert offer.memory_gib <= offer.gpu.memory_gib


def test_a_price_is_the_machines_its_volumes_and_its_addresses(us_east):
    offer = named(us_east, "g5.xlarge")
    assert offer.usd_per_hour == pytest.approx(1.006 + ((120 + 75) * 0.08 + (400 - 125) * 0.04) / 730 + 0.005)
    assert offer.estimated == ("egress_usd_per_gb",)


def test_an_interruptible_price_is_the_most_that_it_may_come_to_and_never_more_than_on_demand(us_east):
    beside = beside_usd_per_hour(120.0, 0.08)
    assert named(us_east, "g5.xlarge", "spot").usd_per_hour == pytest.approx(1.006 * 0.4 * 1.2 + beside)
    assert SpotPolicy(2.0).most_usd_per_hour(0.8, 1.0, 1) == 1.0
    assert SpotPolicy(2.0).most_usd_per_hour(0.8, None, 1) == 1.6
    assert SpotPolicy(2.0, 0.3).most_usd_per_hour(0.8, None, 4) == pytest.approx(1.2)
    assert SpotPolicy(2.0, 0.3).most_usd_per_hour(0.8, None, 2) is None
    with pytest.raises(SpecError, match="1 or more"):
        SpotPolicy(0.9)


@given(now=st.floats(0.01, 50), listed=st.floats(0.01, 50), margin=st.floats(1, 3))
def test_what_is_offered_for_a_spot_machine_runs_now(now, listed, margin):
    assert SpotPolicy(margin).most_usd_per_hour(now, listed, 1) >= now


def test_what_no_engine_runs_on_is_left_out_and_counted(us_east):
    offers, left_out = us_east
    assert {"a part of a GPU", "not x86_64", "bare metal, which boots too slowly"} <= left_out.keys()
    assert not any("no NVIDIA GPU" in reason for reason in left_out)
    assert not any(part in name for name in offers for part in (".metal", "gr6f", "g5g.", "g4ad."))


def test_a_row_of_another_shape_is_counted_and_hides_no_other():
    types = instance_types([{"InstanceType": "g9.huge", "GpuInfo": {"Gpus": [{"Manufacturer": "NVIDIA"}]}}])
    assert not types.by_name
    assert "not understood" in next(iter(types.left_out))


async def test_quotas_bound_how_many_can_be_rented_what_runs_counted(world):
    world.cloud.limits["L-DB2E81BA"] = 10.0  # on demand, g: g5.xlarge has 4 vCPUs
    provisioner = world.provisioner()
    assert (await provisioner.quote(SMALL)).available == 2
    world.put_foreign()
    world.clock.at += 60.0
    assert (await provisioner.quote(SMALL)).available == 1
    world.put_foreign()
    world.clock.at += 60.0
    assert await provisioner.quote(SMALL) is None
    assert (await provisioner.quote(SMALL_SPOT)).available > 1


async def test_without_any_quota_nothing_is_offered_and_it_is_said_which_is_missing(world):
    world.cloud.limits |= {quota.code: 0.0 for quota in QUOTAS}
    provisioner = world.provisioner()
    assert not await provisioner.offers()
    assert any("Running On-Demand G and VT instances (L-DB2E81BA) of us-east-1" in one for one in provisioner.left_out)


def test_every_gpu_family_counts_towards_a_quota():
    assert quota_of("p4d.24xlarge", interruptible=True).code == "L-7212CCBC"
    assert quota_of("p5en.48xlarge", interruptible=True).code == "L-C4BD4855"
    assert quota_of("p5en.48xlarge", interruptible=False).code == "L-417A185B"
    assert quota_of("g6e.xlarge", interruptible=False).code == "L-DB2E81BA"
    assert quota_of("m5.large", interruptible=False) is None


async def test_quotas_that_may_not_be_read_are_assumed_and_said(world):
    world.cloud.refused["GetServiceQuota"] = "AccessDeniedException"
    provisioner = world.provisioner()
    assert (await provisioner.quote(SMALL)).available == 4
    assert (await provisioner.quote(SMALL_SPOT)).available == 1
    assert "quotas can't be read" in provisioner.notes[0]


async def test_prices_that_may_not_be_asked_are_the_dated_ones_and_said(world):
    world.cloud.refused["GetProducts"] = "AccessDeniedException"
    provisioner = world.provisioner()
    offer = await provisioner.quote(SMALL)
    assert offer.usd_per_hour == pytest.approx(1.006 + ((120 + 75) * 0.1 + (400 - 125) * 0.05) / 730 + 0.005)
    assert "usd_per_hour" in offer.estimated
    assert "2026-07-20" in provisioner.notes[0]


def test_the_dated_table_has_prices_of_many_regions_and_none_of_most():
    assert dated_prices("us-east-1").usd_per_hour["p5.48xlarge"] == 55.04
    assert dated_prices("eu-central-1").usd_per_hour["g5.12xlarge"] > 6
    assert not dated_prices("mars-1").usd_per_hour


@pytest.mark.parametrize("text", ["", "{}", "null", '{"product": {}, "terms": {"OnDemand": {}}}', "[1]"])
def test_a_product_that_cannot_be_read_has_no_price(text):
    assert product(text) == {}


def test_a_block_of_capacity_that_is_booked_ahead_is_no_price_on_demand():
    terms = {"OnDemand": {"S": {"priceDimensions": {"D": {"unit": "Hrs", "pricePerUnit": {"USD": "31.46"}}}}}}
    for market, found in (("OnDemand", {"p5.48xlarge": 31.46}), ("CapacityBlock", {})):
        attributes = {"instanceType": "p5.48xlarge", "marketoption": market}
        assert product(json.dumps({"product": {"attributes": attributes}, "terms": terms})) == found


async def test_quotes_asked_for_at_once_are_one_reading(world):
    provisioner = world.provisioner()
    await asyncio.gather(*(provisioner.quote(SMALL) for _ in range(20)))
    assert len(world.cloud.operations("DescribeInstanceTypes")) == 1
    assert len(world.cloud.operations("DescribeSpotPriceHistory")) == 1


@contextmanager
def served(text: str) -> Iterator[str]:
    """A web server with that one document; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/feed"
        finally:  # a thread that listens on a closed socket spins
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("document", "usd_per_hour"),
    [
        (json.dumps(PRICE_LIST), 0.546),
        (f"/* AWS */\ncallback({json.dumps(PRICE_LIST)});", 0.546),
        (json.dumps(ADVISOR), 1.006 * 0.4),
    ],
    ids=["json", "javascript", "advisor"],
)
async def test_an_account_that_may_not_read_spot_prices_takes_those_of_a_public_feed(world, document, usd_per_hour):
    world.cloud.refused["DescribeSpotPriceHistory"] = "UnauthorizedOperation"
    with served(document) as url:
        reader = MarketReader(world.clients, feeds=[url], clock=world.clock, now=world.clock)
        provisioner = world.provisioner(reader=reader)
        offer = await provisioner.quote(SMALL_SPOT)
    assert offer.usd_per_hour == pytest.approx(usd_per_hour * 1.2 + beside_usd_per_hour(120.0, 0.08))
    assert "usd_per_hour" in offer.estimated
    assert "public feeds" in provisioner.notes[0]


async def test_a_region_that_answers_again_is_called_left_out_no_more(world):
    @dataclass(slots=True)
    class Passing(QuickReader):
        fails: bool = True

        async def market(self, region):
            if region == ELSEWHERE and self.fails:
                raise ProvisioningError("not today")
            return await QuickReader.market(self, region)

    reader = Passing(world.clients, fetch=world.fetch, clock=world.clock, now=world.clock)
    provisioner = world.provisioner(REGION, ELSEWHERE, reader=reader)
    await provisioner.offers()
    assert [note for note in provisioner.notes if "not today" in note]
    reader.fails = False
    await provisioner.offers()
    assert not [note for note in provisioner.notes if "not today" in note]


async def test_what_may_be_asked_again_is_called_assumed_no_more(world):
    asked = ("GetServiceQuota", "GetProducts", "DescribeSpotPriceHistory")
    world.cloud.refused |= dict.fromkeys(asked, "AccessDeniedException")
    reader = MarketReader(world.clients, feeds=["http://x/"], fetch=world.fetch, clock=world.clock, now=world.clock)
    provisioner = world.provisioner(reader=reader)
    await provisioner.offers()
    assert len(provisioner.notes) == 3
    for one in asked:
        del world.cloud.refused[one]
    world.clock.at += SLOW_S + 1
    await provisioner.offers()
    assert not provisioner.notes


async def test_without_any_spot_price_the_rest_is_offered_and_it_is_said_why(world):
    world.cloud.refused["DescribeSpotPriceHistory"] = "UnauthorizedOperation"
    provisioner = world.provisioner(reader=MarketReader(world.clients, feeds=["http://x/"], fetch=world.fetch))
    offers = await provisioner.offers()
    assert offers
    assert not any(offer.interruptible for offer in offers)
    assert "no route to http://x/" in provisioner.notes[0]


async def test_the_first_feed_that_answers_is_taken():
    with served("<html>") as bad, served(json.dumps(ADVISOR)) as good:
        feed = await read_feeds([bad, good], fetch)
    assert feed.prices("us-east-1", {"g5.xlarge": 1.0}) == {"g5.xlarge": pytest.approx(0.4)}
    with pytest.raises(ProvisioningError, match="shape of neither"), served("{}") as empty:
        await read_feeds([empty], fetch)


def test_old_names_of_regions_are_read_and_sizes_that_are_not_sold_have_no_price():
    feed = parse_feed(json.dumps(PRICE_LIST))
    assert feed.prices("us-east-1", {}) == {"g5.xlarge": 0.546}
    assert not feed.prices("eu-central-1", {})


@given(
    st.builds(
        OfferId,
        st.just(REGION),
        st.just("us-east-1a"),
        st.sampled_from(["g5.xlarge", "p6-b200.48xlarge"]),
        st.booleans(),
    )
)
def test_an_offers_name_is_read_back_as_it_was_written(offer):
    assert OfferId.parse(str(offer)) == offer


@pytest.mark.parametrize("text", ["", "row-7", "aws-g5.xlarge-us-east-1", "aws:a:b:c", "aws:a:b:c:reserved", "11-bid"])
def test_other_names_are_no_offers_of_ours(text):
    assert OfferId.parse(text) is None


async def test_what_had_no_room_is_not_offered_for_three_minutes(world):
    provisioner = world.provisioner()
    world.cloud.spoil("create", "InsufficientInstanceCapacity")
    with pytest.raises(ProvisioningError):
        await rented(provisioner)
    for name, there in ((SMALL, False), (SMALL_SPOT, True), (SMALL.replace("1a", "1b"), True)):
        assert (await provisioner.quote(name) is not None) is there
        assert (name in {offer.offer_id for offer in await provisioner.offers()}) is there
    world.clock.at += 181.0
    await rented(provisioner)
