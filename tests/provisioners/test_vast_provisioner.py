"""Renting from Vast.ai: what is looked for, what is asked for, and what is refused before it is."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Instance
from planner.errors import NoCapacity, ProvisioningError, SpecError
from provisioners.base import Label, LeaseRequest
from provisioners.leases.acquire import acquire
from provisioners.vast.asks import AskId
from provisioners.vast.bids import BidPolicy
from provisioners.vast.needs import Needs
from provisioners.vast.terms import AGENT_PORT, LONGEST_S, Terms, onstart_script
from tests.provisioners.fakes import OWNER, MemoryJournal, intent
from tests.provisioners.vast_market import bundle
from tests.provisioners.vast_world import DEADMAN, ONSTART, rented, rented_hosts, request, seen, vast_world

KEY = "ssh-ed25519 AAAAC3Nz thunder's own"


@pytest.fixture
def world():
    with vast_world() as made:
        yield made


async def test_every_machine_is_offered_on_demand_and_by_bid(world):
    offers = await world.provisioner().offers()
    assert [offer.offer_id for offer in offers] == ["11-120gb", "12-120gb", "11-120gb-bid", "12-120gb-bid"]
    assert {offer.machine for offer in offers} == {"1011", "1012"}
    assert len({(offer.disk_gb, offer.provider) for offer in offers}) == 1


async def test_hosts_that_cannot_serve_are_left_out_and_counted_by_what_they_lack(world):
    spoilt = {"cuda_max_good": 12.0, "duration": 3600.0, "disk_space": 60.0, "direct_port_count": 1}
    world.market.bundles += [bundle(20 + n, **{name: value}) for n, (name, value) in enumerate(spoilt.items())]
    unasked = {"compute_cap": 700, "gpu_ram": 4096, "verification": "unverified"}
    world.market.bundles += [bundle(30 + n, **{name: value}) for n, (name, value) in enumerate(unasked.items())]
    provisioner = world.provisioner()
    assert len(await provisioner.offers()) == 4
    assert provisioner.left_out == {
        "with a driver older than CUDA 13.0": 2,
        "let for less than 12 h": 2,
        "with less than 120 GB of disk": 2,
        "with fewer than 2 open ports": 2,
    }


async def test_a_card_that_we_do_not_know_is_named(world):
    world.market.bundles.append(bundle(13, "RTX 9090"))
    provisioner = world.provisioner()
    assert len(await provisioner.offers()) == 4
    assert provisioner.left_out == {"with a GPU 'RTX 9090' that is not known": 2}


async def test_quotes_asked_for_at_once_are_one_search(world):
    world.market.bundles = [bundle(n) for n in range(1, 41)]
    provisioner = world.provisioner()
    quotes = await asyncio.gather(*(provisioner.quote(str(n)) for n in range(1, 42)))
    assert [quote.offer_id for quote in quotes[:-1]] == [f"{n}-120gb" for n in range(1, 41)]
    assert quotes[-1] is None
    assert len(world.market.asked) == 1


async def test_a_quote_that_is_given_up_spoils_no_other(world):
    provisioner = world.provisioner()
    given_up, kept = asyncio.ensure_future(provisioner.quote("11")), asyncio.ensure_future(provisioner.quote("12"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert (await kept).offer_id == "12-120gb"


async def test_an_offer_that_is_taken_or_was_never_vasts_has_no_quote(world):
    provisioner = world.provisioner()
    await rented(world, provisioner)
    assert [await provisioner.quote(name) for name in ("11", "11-120gb-bid", "row-3", "")] == [None] * 4


async def test_a_quote_is_for_the_disk_that_was_planned_with_whatever_is_wanted_now(world):
    small, large = (world.provisioner(needs=Needs(disk_gb=gb)) for gb in (50.0, 500.0))
    [planned, *_] = await small.offers()
    assert planned.offer_id == "11-50gb"
    assert await large.quote(planned.offer_id) == planned
    _, contract = await rented(world, large)
    assert contract.body["disk"] == 500.0
    other, *_ = await small.offers()
    await large.lease(request(other))
    assert sorted(one.body["disk"] for one in world.market.contracts.values()) == [50.0, 500.0]


@given(st.builds(AskId, st.integers(0, 10**9), st.sampled_from([0.0, 8.0, 90.0, 62.5]), st.booleans()))
def test_the_name_of_an_offer_says_all_of_it(ask):
    assert AskId.parse(str(ask)) == ask


async def test_a_machine_bears_its_label_its_port_and_its_script(world):
    _, contract = await rented(world, world.provisioner(hosts=rented_hosts(Path("known"), KEY)))
    assert contract.body["label"].startswith(f"thunder:{OWNER}:d:")
    assert contract.body["env"] == {f"-p {AGENT_PORT}:{AGENT_PORT}": "1"}
    assert contract.body["disk"] == 120.0
    assert "$CONTAINER_API_KEY" in contract.body["onstart"]
    assert KEY.split("'")[0] in contract.body["onstart"]


async def test_a_machine_is_told_how_long_its_lease_is(world):
    provisioner = world.provisioner(needs=Needs(max_hours=3.0))
    [offer, *_] = await provisioner.offers()
    asked = LeaseRequest(Label(OWNER, "d", "l"), offer.offer_id, offer.usd_per_hour, lifetime_s=5400.4)
    await provisioner.lease(asked)
    await rented(world, provisioner)
    for_a_lease, as_the_spec_says = (contract.body["onstart"] for contract in world.market.contracts.values())
    assert "5400 s, or what run/ends_after_s says" in for_a_lease
    assert "10800 s, or what run/ends_after_s says" in as_the_spec_says


async def test_a_lease_that_ends_at_a_time_is_one_of_so_many_seconds(world):
    wanted = Instance("i0", "11-60gb", "vast", "Texas, US", "A6000", 1, 47.4, 0.45, disk_gb=60.0)
    until = replace(intent(wanted), expires_at=world.clock() + 7200.0)
    await acquire(
        MemoryJournal(), world.provisioner(), until, budget_usd_per_hour=1.0, price_tolerance=0.5, now=world.clock
    )
    [contract] = world.market.contracts.values()
    assert "7200 s, or what run/ends_after_s says" in contract.body["onstart"]
    assert contract.body["disk"] == 60.0


async def test_a_bid_is_what_the_request_allows_less_the_disk(world):
    machine, contract = await rented(world, world.provisioner(), interruptible=True)
    assert contract.body["price"] == pytest.approx(0.2 * 1.2, abs=2e-6)
    assert contract.dph_total <= machine.usd_per_hour


async def test_a_bid_for_an_offer_that_was_not_quoted_looks_it_up_first(world):
    [offer] = [one for one in await world.provisioner().offers() if one.offer_id == "11-120gb-bid"]
    fresh = world.provisioner()
    await fresh.lease(request(offer))
    [contract] = world.market.contracts.values()
    assert contract.body["price"] == pytest.approx(0.24, abs=2e-6)
    with pytest.raises(NoCapacity, match="no longer sells"):
        await world.provisioner().lease(request(offer))


async def test_a_bid_that_the_market_passed_is_a_machine_of_no_use(world):
    provisioner = world.provisioner()
    offer = next(one for one in await provisioner.offers() if one.interruptible)
    world.market.bundles[0]["min_bid"] = 0.39
    machine = await provisioner.lease(request(offer))
    assert "bid_too_low" in machine.problem
    assert (await seen(provisioner)).problem.startswith("outbid")
    await provisioner.release(machine.provider_id)
    assert not world.market.contracts


@pytest.mark.parametrize(
    ("offer_id", "interruptible", "usd_per_hour"),
    [("11", True, 1.0), ("11-bid", False, 1.0), ("local-slot", False, 1.0), ("11-bid", True, 0.001)],
)
async def test_a_request_that_fits_no_offer_is_refused_before_it_is_sent(world, offer_id, interruptible, usd_per_hour):
    asked = LeaseRequest(Label(OWNER, "d", "l"), offer_id, usd_per_hour, interruptible)
    with pytest.raises(NoCapacity):
        await world.provisioner().lease(asked)
    assert not any(method == "PUT" for method, _, _ in world.market.asked)


async def test_a_label_that_would_be_cut_off_is_refused(world):
    with pytest.raises(ProvisioningError, match="256 characters"):
        await world.provisioner().lease(LeaseRequest(Label(OWNER, "d" * 200, "l" * 36), "11", 1.0))
    assert not world.market.asked


async def test_a_bid_at_the_lowest_that_wins_is_not_lost_in_rounding(world):
    world.market.bundles = [bundle(n, min_bid=n / 7) for n in range(1, 21)]
    world.market.limited = False
    provisioner = world.provisioner(bids=BidPolicy(1.0))
    for offer in await provisioner.offers():
        if offer.interruptible:
            assert not (await provisioner.lease(request(offer))).problem


async def test_a_bid_is_never_above_the_cap_and_what_is_only_sold_above_it_is_left_out(world):
    world.market.bundles = [bundle(11, num_gpus=2, min_bid=0.30), bundle(12, num_gpus=1, min_bid=0.30)]
    provisioner = world.provisioner(bids=BidPolicy(1.5, most_usd_per_gpu_hour=0.2))
    [offer] = [one for one in await provisioner.offers() if one.interruptible]
    assert provisioner.left_out == {"whose lowest bid is above the cap": 1}
    await provisioner.lease(request(offer))
    [contract] = world.market.contracts.values()
    assert contract.body["price"] == pytest.approx(0.4, abs=2e-6)
    assert not contract.stopped


def test_a_script_that_vast_would_cut_off_is_refused_before_anything_is_asked(world):
    with pytest.raises(SpecError, match="4096"):
        world.provisioner(onstart="x" * 4097)
    longest = Terms(ONSTART, DEADMAN, rented_hosts(Path("known"), "k" * 400), url="u" * 60)
    assert len(onstart_script(longest, LONGEST_S)) < 4096


async def test_the_search_is_told_the_card_and_the_disk_that_are_wanted(world):
    await world.provisioner(needs=Needs(disk_gb=500.0, compute_capability=8.0)).offers()
    [(_, _, sent), _] = world.market.asked
    assert (sent["compute_cap"], sent["allocated_storage"]) == ({"gte": 800}, 500.0)
    assert sent["verified"] == {"eq": True}
    assert not {"disk_space", "duration", "direct_port_count", "cuda_max_good"} & sent.keys()
