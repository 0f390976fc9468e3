"""What counts as a whole listing of Vast.ai's, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioners.vast.client import VastClient
from provisioners.vast.instances import listing, machine_of
from tests.provisioners.vast_world import vast_world

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["HostPort", "x"]), inner, max_size=2),
    max_leaves=4,
)
TIMES = ("start_date", "end_date")
FIELDS = ("id", "label", "dph_total", *TIMES, "actual_status", "status_msg", "ports", "public_ipaddr", "ssh_port")


@pytest.fixture
def world():
    with vast_world() as made:
        yield made


async def listed(client: VastClient):
    return await listing(client.page)


async def test_every_page_is_walked(world):
    numbers = [str(world.market.put_foreign(None if n % 2 else f"n{n}")) for n in range(60)]
    found = await listed(world.client())
    assert found.complete
    assert [machine.provider_id for machine in found.machines] == numbers


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("410", "410"),
        ("429", "429"),
        ("schema", "no list of instances"),
        ("text", "no answer that can be read"),
        ("truncated", "of 60 instances"),
        ("null fields", "25 rows have no id"),
    ],
)
@pytest.mark.parametrize("good_pages", [0, 1])
async def test_a_listing_that_is_not_whole_says_so_and_shows_what_it_saw(world, fault, reason, good_pages):
    for _ in range(60):
        world.market.put_foreign()
    faults = ["" for _ in range(good_pages)] + [fault] * 3
    world.market.spoil("list", *faults)
    found = await listed(world.client())
    assert not found.complete
    assert reason in found.reason
    assert len(found.machines) in (25 * good_pages, 25 * good_pages + 24)


async def test_an_empty_list_is_complete_and_left_to_be_judged_by_who_knows_what_runs(world):
    world.market.put_foreign()
    world.market.spoil("list", "empty")
    found = await listed(world.client())
    assert (found.complete, found.machines) == (True, ())


async def test_a_machine_of_ours_without_a_price_is_not_believed_and_a_strangers_is(world):
    for label, price, complete in (
        ("my notebook", None, True),
        ("thunder:o:d:l", None, False),
        ("thunder:o:d:l", float("nan"), False),
    ):
        number = world.market.put_foreign(label)
        rows = [world.market.row(world.market.contracts[number]) | {"dph_total": price}]

        async def page(_, rows=rows):
            return {"instances": rows, "next_token": None, "total_instances": 1}

        assert (await listing(page)).complete is complete


@pytest.mark.parametrize(
    ("said", "ends_at"),
    [(1_800_000_000.5, 1_800_000_000.5), (None, None), (0, None), ("soon", None), (True, None), (float("inf"), None)],
)
def test_when_its_host_ends_a_machine_is_known_where_vast_says(said, ends_at):
    machine = machine_of({"id": 1, "label": "", "dph_total": 1.0, "end_date": said})
    assert machine is not None
    assert machine.ends_at == ends_at


@given(row=JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON) | {"id": st.integers()}))
def test_no_row_however_strange_breaks_a_listing(row):
    machine = machine_of(row)
    assert machine is None or machine.provider_id == str(row["id"])


async def test_a_page_that_leads_back_is_not_followed_for_ever():
    async def page(_):
        return {"instances": [], "next_token": "again", "total_instances": 0}

    found = await listing(page)
    assert not found.complete
    assert "leads nowhere" in found.reason
