"""Every answer that RunPod's reference lists, and the outcome that our adapter makes of it."""

import pytest

from planner.errors import AuthError, NoCapacity, OutcomeUnknown, ProvisioningError, RateLimited
from provisioners.base import key_mark
from provisioners.pacer import Pacer
from provisioners.runpod.client import RunPodClient
from tests.provisioners.runpod_world import runpod_world

ORDER = {
    "name": "thunder:o:d:l",
    "image": "ubuntu",
    "gpu": {"id": "NVIDIA L40S", "count": 1},
    "dataCenterIds": ["US-KS-2"],
    "disk": 10,
    "ports": ["22/tcp"],
}


@pytest.fixture
def world():
    with runpod_world() as made:
        yield made


def asked(world, method: str) -> int:
    return sum(verb == method for verb, _, _ in world.cloud.asked)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("no room", NoCapacity),
        ("402", ProvisioningError),
        ("429", RateLimited),
        ("500 before", OutcomeUnknown),
        ("500 after", OutcomeUnknown),
        ("504 before", OutcomeUnknown),
        ("504 after", OutcomeUnknown),
        ("dropped before", OutcomeUnknown),
        ("dropped after", OutcomeUnknown),
        ("no id", OutcomeUnknown),
        ("text", OutcomeUnknown),
    ],
)
async def test_a_create_that_names_no_pod_is_a_clear_no_or_unknown_and_never_sent_again(world, fault, error):
    world.cloud.spoil("create", fault)
    with pytest.raises(error) as refused:
        await world.client().create(ORDER)
    assert type(refused.value) is error
    assert asked(world, "POST") == 1
    if error is not OutcomeUnknown:
        assert not world.cloud.pods


async def test_a_field_that_the_reference_does_not_have_is_our_mistake_and_named(world):
    with pytest.raises(ProvisioningError, match="additional properties 'imageName' not allowed") as refused:
        await world.client().create(ORDER | {"imageName": "ubuntu"})
    assert type(refused.value) is ProvisioningError


@pytest.mark.parametrize("key", ["wrong", None])
async def test_a_wrong_key_and_none_are_told_apart_from_all_other_errors(world, key):
    for call in (world.client(key).pods(), world.client(key).gpus(1), world.client(key).create(ORDER)):
        with pytest.raises(AuthError) as refused:
            await call
        assert "RUNPOD_API_KEY" in refused.value.hint


@pytest.mark.parametrize("fault", ["429", "500", "500 after"])
async def test_a_pod_that_is_not_known_to_go_is_an_error_and_the_next_ask_settles_it(world, fault):
    pod_id = (await world.client().create(ORDER))["id"]
    world.cloud.spoil("destroy", fault)
    with pytest.raises(ProvisioningError):
        await world.client().terminate(pod_id)
    await world.client().terminate(pod_id)
    await world.client().terminate(pod_id)
    assert not world.cloud.pods


async def test_a_pod_id_of_any_kind_is_one_part_of_a_path(world):
    kept = (await world.client().create(ORDER))["id"]
    await world.client().terminate(f"../pods/{kept}?x=")
    assert list(world.cloud.pods) == [kept]


async def test_no_more_calls_go_out_than_are_allowed_in_a_minute(world):
    client, began = world.client(), world.clock.at
    for _ in range(70):
        await client.pods()
    assert world.clock.at - began >= 50


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no url", "http://[::1"])
async def test_a_service_that_is_not_there_is_an_error_that_says_so(url):
    with pytest.raises(ProvisioningError, match="gave no answer"):
        await RunPodClient("key", url=url, pacer=Pacer(0.0)).pods()


def test_another_key_is_another_account_as_far_as_is_known():
    marks = {key_mark(RunPodClient(key).api_key) for key in ("one", "another", "one")}
    assert len(marks) == 2
    assert not any("one" in mark or "another" in mark for mark in marks)
