"""Renting from Vast.ai: what is looked for, what is asked for, and what is refused before it is."""

import asyncio
from pathlib import Path

import pytest

from planner.errors import NoCapacity, ProvisioningError, SpecError
from provisioners.base import Label, LeaseRequest
from provisioners.rendering import rendered
from provisioners.vast.offers import BidPolicy, Needs
from provisioners.vast.provisioner import AGENT_PORT, FOLDER, Access
from tests.provisioners.fakes import OWNER
from tests.provisioners.vast_market import bundle
from tests.provisioners.vast_world import ONSTART, rented, request, seen, vast_world

KEY = "ssh-ed25519 AAAAC3Nz thunder's own"


@pytest.fixture
def world():
    with vast_world() as made:
        yield made


async def test_every_machine_is_offered_on_demand_and_by_bid(world):
    offers = await world.provisioner().offers()
    assert [offer.offer_id for offer in offers] == ["11", "12", "11-bid", "12-bid"]
    assert {offer.machine for offer in offers} == {"1011", "1012"}
    assert len({(offer.disk_gb, offer.provider) for offer in offers}) == 1


async def test_what_cannot_work_is_not_even_asked_for(world):
    world.market.bundles.append(bundle(13, cuda_max_good=12.0))
    provisioner = world.provisioner()
    assert "13" not in {offer.offer_id for offer in await provisioner.offers()}
    assert not provisioner.left_out


async def test_a_card_that_we_do_not_know_is_named(world):
    world.market.bundles.append(bundle(13, "RTX 9090"))
    provisioner = world.provisioner()
    assert len(await provisioner.offers()) == 4
    assert provisioner.left_out == {"GPU 'RTX 9090' is not known": 2}


async def test_quotes_asked_for_at_once_are_one_search(world):
    world.market.bundles = [bundle(n) for n in range(1, 41)]
    provisioner = world.provisioner()
    quotes = await asyncio.gather(*(provisioner.quote(str(n)) for n in range(1, 42)))
    assert [quote.offer_id for quote in quotes[:-1]] == [str(n) for n in range(1, 41)]
    assert quotes[-1] is None
    assert len(world.market.asked) == 1


async def test_a_quote_that_is_given_up_spoils_no_other(world):
    provisioner = world.provisioner()
    given_up, kept = asyncio.ensure_future(provisioner.quote("11")), asyncio.ensure_future(provisioner.quote("12"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert (await kept).offer_id == "12"


async def test_an_offer_that_is_taken_or_was_never_vasts_has_no_quote(world):
    provisioner = world.provisioner()
    await rented(world, provisioner)
    assert [await provisioner.quote(name) for name in ("11", "11-bid", "row-3", "")] == [None] * 4


async def test_a_machine_bears_its_label_its_port_and_its_script(world):
    _, contract = await rented(world, world.provisioner(access=Access(Path("known"), public_key=KEY)))
    assert contract.body["label"].startswith(f"thunder:{OWNER}:d:")
    assert contract.body["env"] == {f"-p {AGENT_PORT}:{AGENT_PORT}": "1"}
    assert contract.body["disk"] == 120.0
    assert "$CONTAINER_API_KEY" in contract.body["onstart"]


async def test_a_bid_is_what_the_request_allows_less_the_disk(world):
    machine, contract = await rented(world, world.provisioner(), interruptible=True)
    assert contract.body["price"] == pytest.approx(0.2 * 1.2, abs=2e-6)
    assert contract.dph_total <= machine.usd_per_hour


async def test_a_bid_for_an_offer_that_was_not_quoted_looks_it_up_first(world):
    [offer] = [one for one in await world.provisioner().offers() if one.offer_id == "11-bid"]
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


def test_a_script_that_vast_would_cut_off_is_refused(world):
    with pytest.raises(SpecError, match="4096"):
        world.provisioner(onstart="x" * 4097)
    assert len(rendered(ONSTART, folder=FOLDER, public_key="k" * 600, deadman_s=7200, look_s=60, url="u" * 60)) < 4096


async def test_the_needs_are_what_the_search_is_asked_for(world):
    await world.provisioner(needs=Needs(disk_gb=500.0, max_hours=24.0), ports=(8443, 9000)).offers()
    [(_, _, sent), _] = world.market.asked
    assert (sent["disk_space"], sent["duration"], sent["allocated_storage"]) == (
        {"gte": 500.0},
        {"gte": 86400.0},
        500.0,
    )
    assert sent["direct_port_count"] == {"gte": 3}
