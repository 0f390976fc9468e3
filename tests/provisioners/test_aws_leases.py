"""Leases on AWS, from the intent on: what the protocol tells EC2, and what of a failure it remembers."""

import pytest

from planner.deployment import Instance
from planner.errors import NoCapacity, OutcomeUnknown
from provisioners.leases.acquire import Intent, acquire
from provisioners.leases.journal import LeaseState
from provisioners.leases.observe import Pace
from provisioners.leases.release import release, resume
from tests.provisioners.aws_world import REGION, SMALL, aws_world
from tests.provisioners.fakes import OURS, OWNER, MemoryJournal, states


@pytest.fixture
def world():
    with aws_world(quick=True) as made:
        yield made


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


async def lease(world, journal, name="i0", **intent):
    wanted = Instance(name, SMALL, "aws", REGION, "A10G", 1, 22.3, 1.04, disk_gb=200.0)
    asked = Intent(OWNER, "d", "plan", wanted, world.clock() + 7200.0, **intent)
    return await acquire(journal, world.provisioner(), asked, budget_usd_per_hour=3.0, now=world.clock)


def pace(world) -> Pace:
    return Pace(90.0, 30.0, 1200.0, clock=world.clock, now=world.clock, sleep=world.clock.sleep)


async def test_ec2_is_told_the_lease_the_disk_and_the_group_of_the_intent(world, journal):
    row = await lease(world, journal, group="r0")
    [sent] = world.cloud.operations("RunInstances")
    assert sent["ClientToken"] == row.lease_id
    assert sent["Placement.GroupName"].endswith("-d-r0")
    assert int(sent["BlockDeviceMapping.1.Ebs.VolumeSize"]) >= 200
    assert row.provider_id.startswith(f"{REGION}/i-")


async def test_an_answer_that_was_lost_is_found_by_listing_and_not_asked_for_again(world, journal):
    world.cloud.spoil("create", "dropped after")
    with pytest.raises(OutcomeUnknown):
        await lease(world, journal)
    await resume(journal, world.provisioner(), **OURS, pace=pace(world))
    assert states(journal) == [LeaseState.CREATED]
    assert len(world.cloud.operations("RunInstances")) == 1
    await release(journal, world.provisioner(), **OURS, reason="down", pace=pace(world))
    assert states(journal) == [LeaseState.GONE]
    assert not world.cloud.instances()


async def test_a_zone_without_room_ends_the_row_with_the_reason(world, journal):
    world.cloud.spoil("create", "InsufficientInstanceCapacity")
    with pytest.raises(NoCapacity, match="InsufficientInstanceCapacity"):
        await lease(world, journal)
    [row] = journal.leases()
    assert row.state is LeaseState.LOST
    assert "InsufficientInstanceCapacity" in row.reason


async def test_an_empty_listing_while_machines_run_ends_nothing(world, journal):
    await lease(world, journal)
    world.cloud.spoil("list", "empty", "empty", "empty")
    await resume(journal, world.provisioner(), **OURS, pace=pace(world))
    assert states(journal) == [LeaseState.CREATED]


async def test_a_fleet_that_ended_itself_as_a_whole_is_gone_at_once(world, journal):
    """EC2 names what it terminated for an hour: the listing that has no machine any more is not empty."""
    row = await lease(world, journal)
    await world.provisioner().release(row.provider_id)  # as its own switch would
    sight = await resume(journal, world.provisioner(), **OURS, pace=pace(world))
    assert (states(journal), sight.distrust) == ([LeaseState.GONE], "")
    assert "terminated" in journal.leases()[0].reason
