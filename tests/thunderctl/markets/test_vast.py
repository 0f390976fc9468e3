"""Vast.ai from the command line: its live offers need no key, renting does."""

import json

import pytest

from planner.errors import AuthError, ProvisioningError, SpecError
from planner.models import llm_named
from provisioners.vast.terms import IMAGE
from tests.provisioners.vast_market import OWNER_KEY, bundle
from tests.provisioners.vast_world import rented, vast_world
from thunderctl.compose import check_leasable, provisioner
from thunderctl.keys.machine_key import machine_key
from thunderctl.markets.market import read_market
from thunderctl.markets.needs import needs_of
from thunderctl.spec.spec import parse_spec

QWEN = parse_spec('[model]\nname = "qwen3-32b"\n[markets]\nproviders = ["vast"]')


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    with vast_world(bundle(11), bundle(12, usd=0.3), bundle(13, "RTX 9090"), bundle(14, duration=3600.0)) as made:
        monkeypatch.setenv("VAST_URL", made.url)
        yield made


@pytest.mark.usefixtures("world")
def test_the_live_market_is_shown_without_a_key(shown):
    said = shown("offers", "--provider", "vast", "--json")
    document = json.loads(said.out)
    assert [offer["offer_id"] for offer in document["offers"]] == [
        "12-100gb-bid",
        "11-100gb-bid",
        "12-100gb",
        "11-100gb",
    ]
    assert document["sources"] == [{"provider": "vast", "ok": True, "error": None, "count": 4, "live": True}]
    assert all(offer["leasable"] for offer in document["offers"])
    assert "Left out 4 offers of Vast.ai: 2 with a GPU 'RTX 9090' that is not known, 2 let for less" in said.err
    assert "cost our bid: 1.2 times the lowest bid that would win now ([markets.bids])" in said.err


@pytest.mark.usefixtures("world")
def test_a_spec_that_names_vast_is_planned_with_what_it_sells_now(shown, tmp_path):
    (tmp_path / "thunder.toml").write_text('[markets]\nproviders = ["vast"]\n[model]\nname = "mistral-7b"\n')
    plan = json.loads(shown("plan", "--budget", "1", "--json").out)
    assert plan["market_source"] == "live"
    assert {instance["offer_id"].partition("-")[0] for instance in plan["instances"]} <= {"11", "12"}
    assert all(instance["leasable"] for instance in plan["instances"])


def test_the_dated_snapshot_stands_in_where_the_market_cannot_be_asked(world, shown):
    world.market.quota_used_up = True
    said = shown("offers", "--provider", "vast", "--json")
    document = json.loads(said.out)
    assert document["source"] == "snapshot"
    assert len(document["offers"]) > 20
    assert not any(offer["leasable"] for offer in document["offers"])
    [source] = document["sources"]
    assert (source["ok"], source["live"]) == (False, False)
    assert "00:00 UTC" in source["error"]
    assert "vast has no live offers" in said.err


def test_what_is_to_be_rented_is_never_planned_with_dated_offers(world, monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", OWNER_KEY)
    world.market.quota_used_up = True
    assert read_market(QWEN, rentable=True).offers == ()
    world.market.quota_used_up = False
    assert {offer.offer_id for offer in read_market(QWEN, rentable=True).offers} >= {"11-100gb"}


def test_a_market_without_an_account_is_not_planned_with_where_it_is_to_be_rented(world):
    said: list[str] = []
    both = parse_spec('[markets]\nproviders = ["local", "vast"]')
    assert {offer.provider for offer in read_market(both, rentable=True, narrate=said.append).offers} == {"local"}
    assert said == ["vast is left out: VAST_API_KEY is not set; expected the key of the account that pays."]
    assert not world.market.asked
    with pytest.raises(AuthError, match="VAST_API_KEY"):
        read_market(QWEN, rentable=True)


def test_nobody_is_asked_unless_vast_is_named(world, shown):
    assert json.loads(shown("offers", "--json").out)["source"] == "snapshot"
    assert not world.market.asked


@pytest.mark.usefixtures("world")
async def test_the_account_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", "wrong")
    listing = await provisioner("vast").observe()
    assert not listing.complete
    assert "auth_error" in listing.reason


async def test_a_rented_machine_is_told_of_the_key_of_ours(world, monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", OWNER_KEY)
    world.market.limited = False
    made = provisioner("vast", QWEN)
    _, contract = await rented(world, made)
    assert machine_key().public in contract.body["onstart"]


async def test_containers_run_the_image_that_the_spec_names_and_its_interpreter_is_known(world, monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", OWNER_KEY)
    own = parse_spec('[markets.vast]\nimage = "me/vllm"\nengine_python = "/usr/bin/python3"')
    for spec, image, python in ((own, "me/vllm", "/usr/bin/python3"), (QWEN, IMAGE, "")):
        world.market.limited = False
        made = provisioner("vast", spec)
        machine, contract = await rented(world, made)
        listed = {one.provider_id: one for one in (await made.observe()).machines}
        assert (contract.body["image"], listed[machine.provider_id].engine_python) == (image, python)


@pytest.mark.usefixtures("world")
def test_bids_are_as_the_spec_says():
    text = '[markets]\nproviders = ["vast"]\ninterruptible = "only"\n[markets.bids]\nfactor = 2\n'
    prices = {offer.offer_id: offer.usd_per_hour for offer in read_market(parse_spec(text)).offers}
    storage = 100 * 0.15 / 720
    assert prices["12-100gb-bid"] == pytest.approx(0.15 * 2 + storage)
    capped = read_market(parse_spec(text + "most_usd_per_gpu_hour = 0.18\n")).offers
    assert [(offer.offer_id, offer.usd_per_hour) for offer in capped] == [
        ("12-100gb-bid", pytest.approx(0.18 + storage))
    ]
    with pytest.raises(
        SpecError, match=r"thunder.toml:\d: \[markets.bids\] factor is 0.9; .* greater than or equal to 1"
    ):
        parse_spec("[markets.bids]\nfactor = 0.9")


def test_the_disk_is_what_the_weights_and_the_engine_take():
    assert needs_of(QWEN).disk_gb == 100
    both = parse_spec('[model]\nname = "qwen3-32b"\ndtypes = ["fp8", "bfloat16"]')
    assert needs_of(both).disk_gb == 100
    assert needs_of(parse_spec('[model]\nname = "qwen3-32b"\ndtype = "fp8"')).disk_gb == 60
    large = llm_named("llama-3-70b", "")
    assert needs_of(parse_spec('[model]\nname = "llama-3-70b"')).disk_gb > 1.1 * large.weight_bytes / 1e9
    assert needs_of(parse_spec('[model]\nname = "/no/such/folder"\n[budget]\nmax_hours = 3')).max_hours == 3


def test_renting_needs_a_key_and_a_live_offer(monkeypatch):
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    with pytest.raises(AuthError, match="VAST_API_KEY is not set"):
        check_leasable("vast")
    monkeypatch.setenv("VAST_API_KEY", OWNER_KEY)
    check_leasable("vast")
    with pytest.raises(SpecError, match="are not live ones"):
        check_leasable("vast", live=False)
    with pytest.raises(ProvisioningError, match="can't rent from lambda yet"):
        check_leasable("lambda")
