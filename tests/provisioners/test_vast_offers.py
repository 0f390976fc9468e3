"""Bundles of Vast.ai → offers: what is kept, what is left out and why, and at which price."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import SpecError
from planner.gpus import gpu_named
from provisioners.vast.bids import BidPolicy
from provisioners.vast.needs import Needs
from provisioners.vast.offers import MONTH_H, sold
from tests.provisioners.vast_market import bundle, sampled

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "markets" / "vast_price_samples.csv"
NEEDS = Needs(disk_gb=100.0)


def one(**fields):
    return bundle(1, **fields) | {"dph_total": 0.42}


def offer(bids=None, **fields):
    found = sold([one(**fields)], NEEDS, bids)
    assert not found.left_out
    return found.offers[0]


def test_an_on_demand_offer_has_vasts_own_price_and_the_disk_that_was_asked_for():
    found = offer()
    assert (found.offer_id, found.machine, found.provider) == ("1-100gb", "1001", "vast")
    assert (found.usd_per_hour, found.interruptible, found.disk_gb) == (0.42, False, 100.0)
    assert (found.egress_usd_per_gb, found.ingress_usd_per_gb) == (0.002, 0.001)
    assert (found.region, found.reliability, found.cuda_version, found.driver_version) == (
        "Texas, US",
        0.99,
        13.0,
        580.65,
    )


def test_an_interruptible_offer_costs_the_bid_and_the_storage():
    found = offer(BidPolicy(1.5), usd=0.4)
    assert (found.offer_id, found.interruptible) == ("1-100gb-bid", True)
    assert found.usd_per_hour == pytest.approx(0.2 * 1.5 + 100 * 0.15 / MONTH_H)


def test_a_bid_below_the_market_is_no_policy():
    with pytest.raises(SpecError, match="bid factor"):
        BidPolicy(0.9)


@pytest.mark.parametrize(
    ("name", "ram_mb", "gpu", "usable_gib"),
    [
        ("RTX A6000", 49140, "A6000", 47.4),
        ("A100 SXM4", 40960, "A100-SXM4-40GB", 39.4),
        ("A100 SXM4", 81920, "A100-SXM4-80GB", 79.1),
        ("RTX 4090", 24564, "RTX4090", 23.6),
        ("RTX 4090", 49140, "RTX4090", 49140 / 1024 * 0.98),  # with memory soldered on
        ("RTX 6000Ada", 49140, "RTX6000Ada", 47.4),
    ],
)
def test_a_card_is_known_by_its_name_and_its_memory(name, ram_mb, gpu, usable_gib):
    found = offer(gpu_name=name, gpu_ram=ram_mb)
    assert found.gpu == gpu_named(gpu)
    assert found.memory_gib == pytest.approx(usable_gib)


def test_nvlink_is_what_the_machine_has_and_not_what_the_card_could():
    assert not offer().nvlink
    assert offer(bw_nvlink=56.0).nvlink


def test_the_network_is_read_as_megabits_and_marked_as_not_certain():
    found = offer()
    assert (found.inet_up_gbit_per_s, found.inet_down_gbit_per_s) == (0.8, 0.9)
    assert found.estimated == ("inet_up_gbit_per_s", "inet_down_gbit_per_s")


def test_traffic_that_nobody_prices_is_priced_pessimistically_and_marked():
    found = offer(inet_up_cost=None)
    assert found.egress_usd_per_gb == 0.05
    assert "egress_usd_per_gb" in found.estimated


def test_memory_of_the_host_is_the_part_that_comes_with_the_cores():
    assert offer().ram_gb == pytest.approx(257 / 4)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"compute_cap": 700}, "with too old a card"),
        ({"cpu_arch": "arm64"}, "without an x86 CPU"),
        ({"cuda_max_good": 12.2}, "with a driver older than CUDA 13.0"),
        ({"disk_space": 99.0}, "with less than 100 GB of disk"),
        ({"direct_port_count": 1}, "with fewer than 2 open ports"),
        ({"duration": 3600.0}, "let for less than 12 h"),
        ({"gpu_ram": 8192}, "with too small a card"),
        ({"verification": "unverified"}, "not verified by Vast.ai"),
        ({"verification": "deverified", "verified": True}, "not verified by Vast.ai"),
        ({"verification": None}, "not verified by Vast.ai"),
        ({"cuda_max_good": None}, "whose cuda_max_good is not stated"),
        ({"disk_space": None}, "whose disk_space is not stated"),
        ({"direct_port_count": None}, "whose direct_port_count is not stated"),
        ({"duration": None}, "whose duration is not stated"),
        ({"rented": True}, "whose rented is True"),
        ({"gpu_name": "RTX 9090"}, "with a GPU 'RTX 9090' that is not known"),
        ({"dph_total": None}, "not understood: dph_total is None; expected a number of 0 or more"),
    ],
)
def test_what_cannot_work_is_left_out_and_counted_by_its_reason(fields, reason):
    spoilt = one() | fields
    found = sold([spoilt, spoilt, one()], NEEDS, None)
    assert len(found.offers) == 1
    assert found.left_out == {reason: 2}


@pytest.mark.parametrize("name", ["verification", *NEEDS.hosts])
def test_what_an_engine_must_have_and_a_bundle_lacks_altogether_is_not_taken_for_granted(name):
    silent = {field: value for field, value in one().items() if field != name}
    assert not sold([silent], NEEDS, None).offers


def test_a_host_is_verified_by_the_searchs_own_word_too():
    silent = {field: value for field, value in one().items() if field != "verification"}
    assert len(sold([silent | {"verified": True}], NEEDS, None).offers) == 1


@given(
    name=st.sampled_from(sorted(bundle(1))), value=st.none() | st.booleans() | st.integers() | st.floats() | st.text()
)
def test_no_bundle_however_strange_hides_the_others(name, value):
    found = sold([one() | {name: value}, one()], NEEDS, BidPolicy())
    assert len(found.offers) + found.left_out.total() == 2
    assert all(0 <= offer.usd_per_hour < float("inf") for offer in found.offers)


def test_a_bundle_that_is_none_costs_nothing_but_itself():
    found = sold([None, "text", one()], NEEDS, None)
    assert len(found.offers) == 1
    assert found.left_out.total() == 2


def test_the_market_as_it_was_seen_is_read_whole():
    if not SAMPLES.exists():
        pytest.skip("the sampled prices are not on this machine")
    bundles = [row | {"dph_total": row["dph_base"]} for row in sampled(SAMPLES, most=7000)]
    found = sold(bundles, NEEDS, None)
    assert len(bundles) > 6000
    assert not found.left_out
