"""The fake Vast server answers the SDK's own client as the API's facts say: so what our adapter meets there is real."""

import pytest
import requests
from vastai import VastAI

from tests.provisioners.vast_market import OWNER_KEY, bundle
from tests.provisioners.vast_world import vast_world

ORDER = {"image": "ubuntu", "disk": 10, "ssh": True, "direct": True}
PAGE = {"select_filters": {}, "order_by": [{"col": "id", "dir": "asc"}], "limit": 25}


@pytest.fixture
def world():
    with vast_world() as made:
        made.market.limited = False
        yield made


@pytest.fixture
def sdk(world):
    return VastAI(api_key=OWNER_KEY, server_url=world.url, retry=1)


def test_offers_are_filtered_ordered_and_priced_with_storage(world, sdk):
    world.market.bundles = [bundle(n, usd=0.1 * n) for n in range(1, 101)]
    found = sdk.search_offers(
        query={"dph_total": {"gte": 0.5}}, order="dph_total", limit=3, storage=730, no_default=True
    )
    assert [one["id"] for one in found] == [4, 5, 6]
    assert found[0]["dph_total"] == pytest.approx(0.4 + 0.15)
    assert len(sdk.search_offers(query={}, no_default=True)) == 64  # unless asked for more, by score
    assert not sdk.search_offers(query="gpu_name=H100_SXM")


def test_without_a_key_there_are_offers_and_an_empty_key_is_a_wrong_one(world):
    nobody = VastAI(api_key="", server_url=world.url, retry=1)
    with pytest.raises(requests.HTTPError, match="401"):
        nobody.search_offers()
    nobody.client.api_key = None
    assert len(nobody.search_offers()) == 2
    with pytest.raises(requests.HTTPError, match="401"):
        nobody.show_instances_v1(PAGE)


def test_an_instance_is_created_listed_shown_labelled_and_destroyed(sdk):
    made = sdk.create_instance(id=11, label="mine", env={"-p 8443:8443": "1"}, cancel_unavail=True, **ORDER)
    assert made["success"]
    number = made["new_contract"]
    [row] = sdk.show_instances_v1(PAGE)["instances"]
    assert (row["id"], row["label"], row["actual_status"], row["is_bid"]) == (number, "mine", "running", False)
    assert set(row["ports"]) == {"22/tcp", "8443/tcp"}
    sdk.label_instance(number, "yours")
    assert sdk.show_instance(number)["label"] == "yours"
    assert [one["id"] for one in sdk.show_instances()] == [number]
    assert sdk.destroy_instance(number) == {"success": True}
    assert sdk.show_instance(number) is None
    with pytest.raises(requests.HTTPError, match="404"):
        sdk.destroy_instance(number)


def test_an_ask_is_rented_once_and_with_it_every_size_of_its_machine(world, sdk):
    world.market.bundles = [bundle(1, machine_id=9, num_gpus=2), bundle(2, machine_id=9, num_gpus=1)]
    sdk.create_instance(id=2, cancel_unavail=True, **ORDER)
    assert [one["id"] for one in sdk.search_offers(query={}, no_default=True)] == [2]
    with pytest.raises(requests.HTTPError, match="410"):
        sdk.create_instance(id=1, cancel_unavail=True, **ORDER)
    assert len(world.market.contracts) == 1


def test_without_cancel_unavail_a_taken_ask_leaves_a_stopped_instance_behind(world, sdk):
    world.market.spoil("create", "taken")
    number = sdk.create_instance(id=11, **ORDER)["new_contract"]
    assert world.market.contracts[number].stopped


def test_a_bid_below_the_market_is_a_failure_that_bills(world, sdk):
    answer = sdk.create_instance(id=11, bid_price=0.01, **ORDER)
    assert not answer["success"]
    contract = world.market.contracts[answer["new_contract"]]
    assert contract.stopped
    assert contract.dph_total > 0
    sdk.change_bid(contract.contract_id, price=0.3)
    assert not contract.stopped


def test_the_list_comes_in_pages_of_25_and_the_old_one_is_gone(world, sdk):
    numbers = [world.market.put_foreign() for _ in range(60)]
    first = sdk.show_instances_v1(PAGE)
    assert (len(first["instances"]), first["total_instances"]) == (25, 60)
    second = sdk.show_instances_v1(PAGE | {"after_token": first["next_token"]})
    assert [row["id"] for row in second["instances"]] == numbers[25:50]
    assert [row["id"] for row in sdk.show_instances()] == numbers
    for wrong in ({"limit": 26}, {"select_filters": {"dph_total": {"gte": 1}}}):
        with pytest.raises(requests.HTTPError, match="400"):
            sdk.show_instances_v1(PAGE | wrong)
    assert requests.get(f"{world.url}/api/v0/instances/", headers=_bearer(OWNER_KEY), timeout=5).status_code == 410


def test_it_boots_in_steps(world, sdk):
    world.market.boot_s = 300.0
    number = sdk.create_instance(id=11, **ORDER)["new_contract"]
    seen = []
    for _ in range(4):
        row = sdk.show_instance(number)
        seen.append((row["actual_status"], row["public_ipaddr"]))
        world.clock.at += 100
    assert seen == [(None, None), ("created", None), ("loading", None), ("running", "203.0.113.9")]


def test_calls_that_come_too_fast_are_refused_in_plain_text(world, sdk):
    world.market.limited = True
    sdk.create_instance(id=11, **ORDER)
    with pytest.raises(requests.HTTPError) as refused:
        sdk.create_instance(id=12, **ORDER)
    assert (refused.value.response.status_code, refused.value.response.text) == (429, "API requests too frequent")
    assert "Retry-After" not in refused.value.response.headers
    world.clock.at += 4.5
    sdk.create_instance(id=12, **ORDER)


def test_the_sdk_left_alone_sends_a_create_three_times(world):
    """Why we set `retry=1`."""
    world.market.spoil("create", "504 after", "504 after", "504 after")
    with pytest.raises(requests.HTTPError, match="410"):  # by then its own first try has taken the ask
        VastAI(api_key=OWNER_KEY, server_url=world.url).create_instance(id=11, cancel_unavail=True, **ORDER)
    assert len(world.market.contracts) == 1
    assert sum(method == "PUT" for method, _, _ in world.market.asked) > 1


def test_a_containers_key_is_good_for_its_own_end_only(world, sdk):
    key = sdk.create_instance(id=11, **ORDER)["instance_api_key"]
    other = sdk.create_instance(id=12, **ORDER)["new_contract"]
    [own] = [number for number in world.market.contracts if number != other]
    inside = VastAI(api_key=key, server_url=world.url, retry=1)
    with pytest.raises(requests.HTTPError, match="401"):
        inside.destroy_instance(other)
    inside.destroy_instance(own)
    assert list(world.market.contracts) == [other]


def test_price_rises_are_announced(world, sdk):
    number = world.market.put_foreign()
    world.market.contracts[number].announced_usd_per_hour = 7.2
    [row] = sdk.show_pending_price_increases()["pending_price_increases"]
    assert (row["contract_id"], row["new_gpu_costpersec"]) == (number, pytest.approx(0.002))


def test_a_lost_answer_is_a_broken_connection(world, sdk):
    world.market.spoil("create", "dropped after")
    with pytest.raises(requests.ConnectionError):
        sdk.create_instance(id=11, **ORDER)
    assert len(world.market.contracts) == 1


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
