"""Every promise of provisioners/base.py, asked of every provider in turn, with all that can go wrong at each.

A new provider joins by a `LeaseWorld` of its own (lease_worlds.py), and has to pass this as it stands.
"""

import asyncio
import uuid
from collections.abc import Iterator

import pytest

from planner.errors import NoCapacity, OutcomeUnknown, ProvisioningError
from provisioners.base import Label
from tests.provisioners.contract_worlds import (
    CREATES_SENT,
    OPENED,
    Opened,
    ask,
    happens,
    lease,
    listed,
    machines,
    release,
    worlds_with,
)
from tests.provisioners.fakes import OWNER
from tests.provisioners.lease_worlds import LeaseWorld

LASTING = 40
"""Answers that a fault lasts: more than any reading asks."""
NOT_A_PROVIDERS = ("timeout",)
"""What FakeCloud raises to see what the lease protocol makes of a provisioner that breaks its promise."""
WHOLE = ("empty",)
"""Listings that a provisioner has no reason to doubt: who knows what runs has."""


@pytest.fixture(params=OPENED)
def opened(request) -> Opened:
    return OPENED[request.param]


@pytest.fixture
def world(opened, tmp_path) -> Iterator[LeaseWorld]:
    with opened(tmp_path) as made:
        yield made


def test_offers_bear_their_providers_name_and_can_be_quoted_as_they_are(world):
    provisioner = world.provisioner()
    offers = asyncio.run(provisioner.offers())
    assert {offer.provider for offer in offers} == {provisioner.provider}
    assert len({offer.offer_id for offer in offers}) == len(offers)
    for offer in offers[:3]:
        assert asyncio.run(world.provisioner().quote(offer.offer_id)) == offer
    for offer_id in world.offers[0]:
        assert asyncio.run(world.provisioner().quote(offer_id)) is not None


@pytest.mark.parametrize("offer_id", ["", "no such offer", "row-7", "12345678"])
def test_what_was_never_sold_has_no_quote(world, offer_id):
    assert asyncio.run(world.provisioner().quote(offer_id)) is None


def test_an_offer_that_is_taken_has_no_quote_and_can_not_be_leased(world):
    offer_id = world.offers[0][0]
    for _ in range(8):
        if asyncio.run(world.provisioner().quote(offer_id)) is None:
            break
        lease(world)
    else:
        pytest.skip(f"{world.name} never runs out of machines here")
    before = sorted(world.labels())
    with pytest.raises(NoCapacity):
        lease(world)
    assert sorted(world.labels()) == before


def test_a_leased_machine_is_listed_with_its_label_whole_and_its_price(world):
    request = ask(world)
    machine = asyncio.run(world.provisioner().lease(request))
    found = listed(world, machine)
    assert found is not None
    for one in (machine, found):
        assert one.label == str(request.label)
        assert 0 < one.usd_per_hour <= request.usd_per_hour * 1.01
        assert not one.problem
    assert found.address


@pytest.mark.parametrize(
    "deployment", ["d", "staging-2", "a_deployment.with-a-name-of-63-characters-as-hosts-may-have-one"]
)
def test_labels_come_back_as_they_were_written(world, deployment):
    machine = lease(world, deployment=deployment)
    assert not machine.problem
    label = Label.parse(machine.label)
    assert label is not None
    assert (label.owner_id, label.deployment) == (OWNER, deployment)
    assert machine.label in [one.label for one in machines(world)]


def test_two_labels_are_two_machines(world):
    made = [lease(world, number) for number in (0, 1)]
    assert len({machine.provider_id for machine in made}) == 2
    assert {machine.label for machine in made} <= {machine.label for machine in machines(world)}


def test_a_create_is_sent_once_and_what_comes_of_it_is_the_truth(opened, tmp_path):
    """A machine that is returned exists; a clear no made none; in doubt, there is at most the one."""
    for world, fault in worlds_with(opened, tmp_path, lambda world: world.creates):
        if fault in NOT_A_PROVIDERS:
            continue
        request, before = ask(world), CREATES_SENT.get(world.name, lambda _: 0)(world)
        world.spoil("create", *[fault] * bool(fault))
        try:
            machine = asyncio.run(world.provisioner().lease(request))
        except OutcomeUnknown:
            expected = (0, 1)
        except ProvisioningError:
            expected = (0,)
        else:
            expected = (1,)
            assert machine.label == str(request.label), fault
        world.spoil("create")
        assert world.labels().count(str(request.label)) in expected, fault
        assert CREATES_SENT.get(world.name, lambda _: 0)(world) - before <= 1, fault
        assert world.others_stand(), fault


def test_a_machine_whose_create_was_in_doubt_is_found_by_its_label(opened, tmp_path):
    for world, fault in worlds_with(opened, tmp_path, lambda world: tuple(x for x in world.creates if "after" in x)):
        request = ask(world)
        world.spoil("create", fault)
        with pytest.raises(OutcomeUnknown):
            asyncio.run(world.provisioner().lease(request))
        assert str(request.label) in [machine.label for machine in machines(world)], fault


def test_a_listing_that_can_not_be_trusted_says_why_and_raises_nothing(world):
    if not world.lists:
        pytest.skip(f"Nothing of this kind can go wrong with {world.name} here.")
    machine = lease(world)
    there = set(world.labels())
    for fault in world.lists:
        world.spoil("list", *[fault] * LASTING)
        listing = asyncio.run(world.provisioner().observe())
        if fault not in WHOLE:
            assert not listing.complete, fault
            assert listing.reason, fault
        assert {one.label for one in listing.machines} <= there, fault
        world.spoil("list")
        assert listed(world, machine) is not None, fault


def test_machines_of_others_are_listed_and_left_alone(world):
    others = set(world.labels())
    lease(world)
    assert others <= {machine.label for machine in machines(world)}
    for machine in machines(world):
        if machine.label not in others:
            release(world, machine)
    assert set(world.labels()) == others
    assert world.others_stand()


def test_a_machine_that_stands_still_is_listed_and_of_no_use(opened, tmp_path):
    """It may bill on; and a release does not only stop it."""
    for world, machine, what in happens(opened, tmp_path, "outbid", "exited", "stopped"):
        found = listed(world, machine)
        assert found is not None, what
        assert found.problem, what
        release(world, machine)
        assert machine.label not in world.labels(), what


def test_what_it_costs_now_is_what_is_listed(opened, tmp_path):
    for world, machine, what in happens(opened, tmp_path, "price raised"):
        found = listed(world, machine)
        assert found is not None, what
        assert found.usd_per_hour > machine.usd_per_hour, what


def test_a_word_that_nobody_knows_is_listed_and_condemns_nothing(opened, tmp_path):
    for world, machine, what in happens(opened, tmp_path, "strange state"):
        found = listed(world, machine)
        assert found is not None, what
        assert found.state.lower().startswith("hibernating"), what
        assert not found.problem, what


def test_a_released_machine_is_listed_no_more_and_releasing_it_again_succeeds(world):
    kept, machine = lease(world, 0), lease(world, 1)
    for _ in range(2):
        release(world, machine)
        assert listed(world, machine) is None
    assert machine.label not in world.labels()
    assert listed(world, kept) is not None


def test_a_release_that_fails_says_so_and_the_next_one_settles_it(opened, tmp_path):
    for world, fault in worlds_with(opened, tmp_path, lambda world: world.deletes):
        machine = lease(world)
        world.spoil("delete", *[fault] * LASTING)
        try:
            release(world, machine)
        except ProvisioningError:
            pass
        else:
            assert machine.label not in world.labels(), fault
        world.spoil("delete")
        release(world, machine)
        release(world, machine)
        assert listed(world, machine) is None, fault
        assert machine.label not in world.labels(), fault
        assert world.others_stand(), fault


def test_releasing_what_never_was_or_has_gone_by_itself_succeeds(opened, tmp_path):
    with opened(tmp_path / "never") as world:
        asyncio.run(world.provisioner().release(str(uuid.uuid4())))
    for world, machine, what in happens(opened, tmp_path, "host gone"):
        release(world, machine)
        assert listed(world, machine) is None, what


def test_every_machines_folder_is_an_absolute_path(world):
    machine = lease(world)
    found = listed(world, machine)
    assert found is not None
    assert world.provisioner().folder(found).startswith("/")


def test_a_label_is_read_back_as_it_was_written():
    label = Label(OWNER, "staging-2", "0198c0de-0000-7000-8000-000000000000")
    assert Label.parse(str(label)) == label


@pytest.mark.parametrize("text", ["", "my notebook", "thunder:a:b", "thunder:a:b:c:d", "other:a:b:c", "thunder::b:c"])
def test_other_text_is_no_label(text):
    assert Label.parse(text) is None


def test_a_label_refuses_parts_that_could_not_be_read_back():
    with pytest.raises(ValueError, match="without a colon"):
        Label(OWNER, "a:b", "c")
