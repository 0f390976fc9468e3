"""Who reaches whom where a provider keeps everybody out: the fleet's own machines, by number, and nobody else."""

from types import SimpleNamespace

import pytest

from planner.errors import ProvisioningError
from provisioners.base import Machine
from thunderctl.deploying import doors


class GuardedProvider:
    def __init__(self):
        self.told = []

    async def let_in(self, owner_id, deployment, fleet):
        self.told.append((owner_id, deployment, fleet))

    async def let_operator_in(self, owner_id, deployment):
        self.told.append((owner_id, deployment))


OPEN = SimpleNamespace()


class Fleet:
    """Instances by name: the provider of each, and the address that it is listed with."""

    def __init__(self, **instances):
        self.machines = {
            name: Machine(name, "label", "running", 1.0, address) for name, (_, address) in instances.items()
        }
        self._providers = {name: provider for name, (provider, _) in instances.items()}
        self.plan = SimpleNamespace(instance=lambda name: SimpleNamespace(provider=str(id(self._providers[name]))))
        self.world = SimpleNamespace(name="d")
        self.said = {}

    def provisioner(self, name):
        return self._providers[name]

    def narrate(self, name, text):
        self.said[name] = text


@pytest.fixture(autouse=True)
def owner(monkeypatch):
    monkeypatch.setattr(doors, "owner_id", lambda: "owner")


async def test_a_guarded_provider_is_told_of_all_machines_once_others_providers_too():
    aws = GuardedProvider()
    fleet = Fleet(i0=(aws, "203.0.113.1"), i1=(aws, "203.0.113.2"), i2=(OPEN, "2001:db8::3"))
    await doors.let_in(fleet, fleet.machines)
    assert aws.told == [("owner", "d", {"203.0.113.1", "203.0.113.2", "2001:db8::3"})]


async def test_names_are_told_as_numbers():
    aws = GuardedProvider()
    fleet = Fleet(i0=(aws, "localhost"))
    await doors.let_in(fleet, fleet.machines)
    [(_, _, told)] = aws.told
    assert told <= {"127.0.0.1", "::1"}
    assert told


async def test_a_name_that_nobody_knows_is_said_and_keeps_no_other_out():
    aws = GuardedProvider()
    fleet = Fleet(i0=(aws, "no-such-host.invalid"), i1=(aws, "203.0.113.2"))
    await doors.let_in(fleet, fleet.machines)
    assert aws.told == [("owner", "d", {"203.0.113.2"})]
    assert "no-such-host.invalid" in fleet.said["i0"]


async def test_where_nobody_is_kept_out_nothing_is_asked():
    fleet = Fleet(i0=(OPEN, "no-such-host.invalid"))
    await doors.let_in(fleet, fleet.machines)
    assert not fleet.said


async def test_the_operator_is_let_in_where_somebody_is_kept_out_whatever_one_provider_says():
    aws, refused = GuardedProvider(), GuardedProvider()

    async def refuses(_owner_id, _deployment):
        raise ProvisioningError("the key may not")

    refused.let_operator_in = refuses
    world = SimpleNamespace(name="d", provisioner={"aws": aws, "another": refused, "open": OPEN}.__getitem__)
    await doors.let_operator_in(world, ["another", "aws", "open", "aws"])
    assert aws.told == [("owner", "d")]
