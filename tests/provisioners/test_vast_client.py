"""Every answer that Vast.ai's facts list, and the outcome that our adapter makes of it."""

import pytest

from planner.errors import AuthError, NoCapacity, OutcomeUnknown, ProvisioningError, RateLimited
from provisioners.vast.client import Order, VastClient
from tests.provisioners.vast_market import OWNER_KEY
from tests.provisioners.vast_world import vast_world

ORDER = Order("ubuntu", 10.0, "thunder:o:d:l", {"-p 8443:8443": "1"}, "true")


@pytest.fixture
def world():
    with vast_world() as made:
        yield made


def creates(world) -> int:
    return sum(method == "PUT" for method, _, _ in world.market.asked)


async def test_a_create_says_all_that_it_must(world):
    made = await world.client().create(11, ORDER)
    assert not made.problem
    contract = world.market.contracts[made.instance_id]
    sent = {name: contract.body[name] for name in ("label", "cancel_unavail", "runtype", "price", "onstart", "disk")}
    assert sent == {
        "label": "thunder:o:d:l",
        "cancel_unavail": True,
        "runtype": "ssh_direc ssh_proxy",
        "price": None,
        "onstart": "true",
        "disk": 10.0,
    }


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("taken", NoCapacity),
        ("429", RateLimited),
        ("504 before", OutcomeUnknown),
        ("504 after", OutcomeUnknown),
        ("dropped before", OutcomeUnknown),
        ("dropped after", OutcomeUnknown),
        ("no id", OutcomeUnknown),
        ("text", OutcomeUnknown),
        ("html", OutcomeUnknown),
    ],
)
async def test_a_create_that_names_no_machine_is_a_clear_no_or_unknown_and_never_sent_again(world, fault, error):
    world.market.spoil("create", fault)
    with pytest.raises(error) as refused:
        await world.client().create(11, ORDER)
    assert type(refused.value) is error
    assert creates(world) == 1
    if error is not OutcomeUnknown:
        assert not world.market.contracts


@pytest.mark.parametrize("fault", ["success:false with id", "400 with id"])
async def test_a_failure_that_names_a_machine_is_a_machine_of_no_use(world, fault):
    world.market.spoil("create", fault)
    made = await world.client().create(11, ORDER)
    assert made.instance_id in world.market.contracts
    assert "create_failed" in made.problem


@pytest.mark.parametrize("status", [404, 410])
async def test_an_ask_that_is_gone_is_no_capacity(world, status):
    world.market.taken_status = status
    with pytest.raises(NoCapacity, match="no_such_ask"):
        await world.client().create(999, ORDER)


async def test_our_own_mistake_is_neither_capacity_nor_doubt(world):
    with pytest.raises(ProvisioningError, match="invalid_args") as refused:
        await world.client().create(11, Order("ubuntu", 2.0, "l", {}, ""))
    assert type(refused.value) is ProvisioningError


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_wrong_key_is_an_auth_error_under_every_status_it_comes_with(world, status):
    world.market.wrong_key_status = status
    client = world.client("wrong")
    for call in (client.create(11, ORDER), client.destroy(1), client.page(None), client.pending_price_rises()):
        with pytest.raises(AuthError, match="auth_error"):
            await call


async def test_no_key_sees_offers_and_nothing_else(world):
    client = world.client(None)
    assert len(await client.search({}, interruptible=False, disk_gb=10)) == 2
    with pytest.raises(AuthError):
        await client.page(None)


async def test_filters_are_sent_as_they_are_and_stay_ours(world):
    filters = {"gpu_ram": {"gte": 40_000}}
    await world.client().search(filters, interruptible=True, disk_gb=120.0)
    assert filters == {"gpu_ram": {"gte": 40_000}}
    [(_, _, sent)] = world.market.asked
    assert sent == filters | {
        "order": [["dph_total", "asc"]],
        "type": "bid",
        "limit": 3000,
        "allocated_storage": 120.0,
    }


async def test_reads_are_asked_again_until_they_go_well(world):
    world.market.spoil("search", "502", "429")
    assert len(await world.client().search({}, interruptible=False, disk_gb=10)) == 2
    assert len(world.market.asked) == 3


async def test_a_search_that_keeps_failing_is_an_error_that_says_how(world):
    world.market.spoil("search", "schema", "schema", "502")
    with pytest.raises(ProvisioningError, match="502"):
        await world.client().search({}, interruptible=False, disk_gb=10)


async def test_a_days_quota_is_not_knocked_at(world):
    world.market.quota_used_up = True
    with pytest.raises(RateLimited) as refused:
        await world.client().search({}, interruptible=False, disk_gb=10)
    assert "00:00 UTC" in refused.value.hint
    assert len(world.market.asked) == 1


async def test_creates_and_destroys_keep_to_the_accounts_pace(world):
    client = world.client()
    made = [await client.create(ask, ORDER) for ask in (11, 12)]
    assert world.clock.at == 1_000_000.0 + 4.7
    for one in made:
        await client.destroy(one.instance_id)
    assert not world.market.contracts


async def test_after_a_429_the_next_create_waits_longer(world):
    world.market.spoil("create", "429")
    client = world.client()
    with pytest.raises(RateLimited):
        await client.create(11, ORDER)
    before = world.clock.at
    await client.create(11, ORDER)
    assert world.clock.at - before > 4.7


@pytest.mark.parametrize("fault", ["", "404 after"])
async def test_destroying_ends_it_and_what_is_gone_is_destroyed(world, fault):
    client = world.client()
    made = await client.create(11, ORDER)
    world.market.spoil("destroy", fault)
    for _ in range(2):
        await client.destroy(made.instance_id)
        assert not world.market.contracts


@pytest.mark.parametrize(("fault", "error"), [("429", RateLimited), ("500", ProvisioningError)])
async def test_a_destroy_that_was_not_taken_is_an_error(world, fault, error):
    client = world.client()
    made = await client.create(11, ORDER)
    world.market.spoil("destroy", fault)
    with pytest.raises(error):
        await client.destroy(made.instance_id)
    assert world.market.contracts


async def test_the_proxy_is_told_of_a_key(world):
    client = VastClient(OWNER_KEY, url=world.url, paces=world.paces())
    made = await client.create(11, ORDER)
    await client.attach_ssh_key(made.instance_id, "ssh-ed25519 AAAA")
    assert world.market.contracts[made.instance_id].ssh_keys == ["ssh-ed25519 AAAA"]


async def test_the_account_is_asked_for_once_and_is_a_mark_of_a_key_that_may_not_know(world):
    client = world.client()
    assert [await client.account() for _ in range(2)] == ["71", "71"]
    assert sum(path == "/api/v0/users/current" for _, path, _ in world.market.asked) == 1
    world.market.scoped = True
    marks = [await world.client().account() for _ in range(2)]
    assert marks[0] == marks[1]
    assert marks[0].startswith("key ")
    assert OWNER_KEY not in marks[0]
