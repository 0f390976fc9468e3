"""What every provisioner keeps, asked of each in turn."""

import uuid

import pytest

from planner.errors import NoCapacity
from provisioners.base import Label, LeaseRequest, Provisioner
from provisioners.local.provisioner import LocalProvisioner
from tests.provisioners.fakes import GPU, OWNER, FakeClock, FakeCloud


@pytest.fixture(params=["fake", "local"])
def provisioner(request, tmp_path) -> Provisioner:
    """One with room for two machines."""
    if request.param == "fake":
        return FakeCloud(FakeClock(), capacity=2, usd_per_hour=0.02)
    return LocalProvisioner(tmp_path / "local", gpu=GPU, slots=2)


async def ask(provisioner: Provisioner, lease_id: str | None = None, deployment: str = "d") -> LeaseRequest:
    [offer] = await provisioner.offers()
    label = Label(OWNER, deployment, lease_id or str(uuid.uuid4()))
    return LeaseRequest(label, offer.offer_id, offer.usd_per_hour)


async def test_an_offer_can_be_quoted_again_and_another_can_not(provisioner):
    [offer] = await provisioner.offers()
    assert offer.provider == provisioner.provider
    assert await provisioner.quote(offer.offer_id) == offer
    assert await provisioner.quote("no such offer") is None


async def test_a_leased_machine_is_listed_with_its_label_and_price(provisioner):
    request = await ask(provisioner)
    machine = await provisioner.lease(request)
    listing = await provisioner.observe()
    assert listing.complete
    assert listing.machines == (machine,)
    assert (machine.label, machine.usd_per_hour) == (str(request.label), request.usd_per_hour)
    assert machine.address
    assert not machine.problem


async def test_every_deployment_and_owner_is_listed(provisioner):
    for deployment in ("one", "two"):
        await provisioner.lease(await ask(provisioner, deployment=deployment))
    labels = [Label.parse(machine.label) for machine in (await provisioner.observe()).machines]
    assert {label.deployment for label in labels if label} == {"one", "two"}


async def test_a_full_provider_refuses_and_makes_nothing(provisioner):
    requests = [await ask(provisioner) for _ in range(3)]
    for request in requests[:2]:
        await provisioner.lease(request)
    with pytest.raises(NoCapacity):
        await provisioner.lease(requests[2])
    assert len((await provisioner.observe()).machines) == 2


async def test_a_released_machine_is_listed_no_more_and_releasing_it_again_succeeds(provisioner):
    kept = await provisioner.lease(await ask(provisioner))
    machine = await provisioner.lease(await ask(provisioner))
    for _ in range(2):
        await provisioner.release(machine.provider_id)
        assert (await provisioner.observe()).machines == (kept,)


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
