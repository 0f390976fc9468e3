"""What every provisioner keeps, asked of each in turn."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from planner.errors import NoCapacity
from provisioners.base import Label, LeaseRequest, Provisioner
from provisioners.local.provisioner import LocalProvisioner
from tests.provisioners.fakes import GPU, OWNER, FakeClock, FakeCloud
from tests.provisioners.sshd import ssh_hosts
from tests.provisioners.vast_world import vast_world


@pytest.fixture(params=["fake", "local", "ssh", "vast"])
def provisioner(request, tmp_path) -> Iterator[Provisioner]:
    """One with room for two machines."""
    match request.param:
        case "fake":
            yield FakeCloud(FakeClock(), capacity=2, usd_per_hour=0.02)
        case "local":
            yield LocalProvisioner(tmp_path / "local", gpu=GPU, slots=2)
        case "ssh":
            with ssh_hosts(tmp_path, 2) as hosts:
                yield hosts
        case "vast":
            with vast_world() as world:
                yield world.provisioner()


async def ask(provisioner: Provisioner, lease_id: str | None = None, deployment: str = "d") -> LeaseRequest:
    """A request for its first offer."""
    [offer, *_] = await provisioner.offers()
    label = Label(OWNER, deployment, lease_id or str(uuid.uuid4()))
    return LeaseRequest(label, offer.offer_id, offer.usd_per_hour, disk_gb=offer.disk_gb)


async def test_an_offer_can_be_quoted_again_and_another_can_not(provisioner):
    [offer, *_] = await provisioner.offers()
    assert offer.provider == provisioner.provider
    assert await provisioner.quote(offer.offer_id) == offer
    assert await provisioner.quote("no such offer") is None


async def test_a_leased_machine_is_listed_with_its_label_and_price(provisioner):
    request = await ask(provisioner)
    machine = await provisioner.lease(request)
    listing = await provisioner.observe()
    assert listing.complete
    [listed] = listing.machines
    for one in (machine, listed):
        assert (one.provider_id, one.label) == (machine.provider_id, str(request.label))
        assert one.usd_per_hour == pytest.approx(request.usd_per_hour)
        assert not one.problem
    assert listed.address


async def test_every_deployment_and_owner_is_listed(provisioner):
    for deployment in ("one", "two"):
        await provisioner.lease(await ask(provisioner, deployment=deployment))
    labels = [Label.parse(machine.label) for machine in (await provisioner.observe()).machines]
    assert {label.deployment for label in labels if label} == {"one", "two"}


async def test_a_full_provider_refuses_and_makes_nothing(provisioner):
    for _ in range(2):
        last = await ask(provisioner)
        await provisioner.lease(last)
    with pytest.raises(NoCapacity):
        await provisioner.lease(replace(last, label=replace(last.label, lease_id=str(uuid.uuid4()))))
    assert len((await provisioner.observe()).machines) == 2


async def test_a_released_machine_is_listed_no_more_and_releasing_it_again_succeeds(provisioner):
    kept = await provisioner.lease(await ask(provisioner))
    machine = await provisioner.lease(await ask(provisioner))
    for _ in range(2):
        await provisioner.release(machine.provider_id)
        assert [left.provider_id for left in (await provisioner.observe()).machines] == [kept.provider_id]


async def test_releasing_what_never_was_succeeds(provisioner):
    await provisioner.release(str(uuid.uuid4()))


def test_a_label_is_read_back_as_it_was_written():
    label = Label(OWNER, "staging-2", "0198c0de-0000-7000-8000-000000000000")
    assert Label.parse(str(label)) == label


@pytest.mark.parametrize("text", ["", "my notebook", "thunder:a:b", "thunder:a:b:c:d", "other:a:b:c", "thunder::b:c"])
def test_other_text_is_no_label(text):
    assert Label.parse(text) is None


def test_a_label_refuses_parts_that_could_not_be_read_back():
    with pytest.raises(ValueError, match="without a colon"):
        Label(OWNER, "a:b", "c")
