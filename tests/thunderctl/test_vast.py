"""Vast.ai from the command line: its live offers need no key, and nothing is rented there yet."""

import json

import pytest

from planner.errors import ProvisioningError
from tests.provisioners.vast_market import bundle
from tests.provisioners.vast_world import vast_world
from thunderctl.cli.main import main
from thunderctl.compose import check_leasable, provisioner


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    with vast_world(bundle(11), bundle(12, usd=0.3), bundle(13, "RTX 9090")) as made:
        monkeypatch.setenv("VAST_URL", made.url)
        yield made


@pytest.fixture
def shown(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["offers", *arguments])
        assert ended.value.code == 0
        return capsys.readouterr()

    return run


@pytest.mark.usefixtures("world")
def test_the_live_market_is_shown_without_a_key(shown):
    said = shown("--provider", "vast", "--json")
    document = json.loads(said.out)
    assert [offer["offer_id"] for offer in document["offers"]] == ["12-bid", "11-bid", "12", "11"]
    assert document["sources"] == [{"provider": "vast", "ok": True, "error": None, "count": 4, "live": True}]
    assert not any(offer["leasable"] for offer in document["offers"])
    assert "Left out 2 offers of Vast.ai: 2 GPU 'RTX 9090' is not known." in said.err


def test_the_dated_snapshot_stands_in_where_the_market_cannot_be_asked(world, shown):
    world.market.quota_used_up = True
    said = shown("--provider", "vast", "--json")
    assert json.loads(said.out)["source"] == "snapshot"
    assert len(json.loads(said.out)["offers"]) > 20
    assert "00:00 UTC" in said.err
    assert "dated snapshot" in said.err


def test_nobody_is_asked_unless_vast_is_named(world, shown):
    assert json.loads(shown("--json").out)["source"] == "snapshot"
    assert not world.market.asked


@pytest.mark.usefixtures("world")
async def test_the_account_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("VAST_API_KEY", "wrong")
    listing = await provisioner("vast").observe()
    assert not listing.complete
    assert "auth_error" in listing.reason


def test_what_cannot_be_brought_up_yet_is_not_to_be_rented():
    check_leasable("local")
    for provider in ("vast", "aws"):
        with pytest.raises(ProvisioningError, match=f"can't rent from {provider} yet"):
            check_leasable(provider)
