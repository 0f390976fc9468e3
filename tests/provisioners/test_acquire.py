"""Leasing, step by step, from a provider with faults."""

from decimal import Decimal

import pytest

from planner.errors import Incomplete, NoCapacity, OutcomeUnknown, RateLimited, Refused
from provisioners.leases.acquire import new_lease_id
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.release import resume
from provisioners.leases.transfers import TransferReading, bucket_of
from tests.provisioners.fakes import OURS, OWNER, lease, states


async def test_what_transfers_cost_is_in_the_gate_of_a_create(journal, cloud):
    at = bucket_of(cloud.clock.at)
    journal.readings = (TransferReading("d", "l0", "l1", 1.0, at, 10 * 10**9, Decimal("0.02")),)
    with pytest.raises(Refused, match=r"transfers of 0\.2"):
        await lease(journal, cloud, budget=1.1)
    await lease(journal, cloud, budget=1.2)


async def test_a_lease_is_committed_before_the_provider_is_asked_and_after_it_answers(journal, cloud):
    row = await lease(journal, cloud)
    assert row.state is LeaseState.CREATED
    assert journal.leases() == (row,)
    assert journal.writes == 2
    assert cloud.machines[row.provider_id].label == row.label == f"thunder:{OWNER}:d:{row.lease_id}"


async def test_every_attempt_has_a_label_of_its_own(journal, cloud):
    cloud.lease_faults.extend(["refused", "refused"])
    for _ in range(2):
        with pytest.raises(NoCapacity):
            await lease(journal, cloud)
    await lease(journal, cloud)
    assert len({str(request.label) for request in cloud.asked}) == 3


@pytest.mark.parametrize(("fault", "error"), [("refused", NoCapacity), ("429", RateLimited)])
async def test_a_clear_refusal_ends_the_row_and_is_not_repeated(journal, cloud, fault, error):
    cloud.lease_faults.append(fault)
    with pytest.raises(error):
        await lease(journal, cloud)
    [row] = journal.leases()
    assert (row.state, row.usd_per_hour) == (LeaseState.LOST, 1.0)
    assert row.reason
    assert row.ended_at is not None
    assert len(cloud.asked) == 1


@pytest.mark.parametrize("fault", ["dropped before", "dropped after", "timeout"])
async def test_an_unclear_answer_leaves_the_row_counting_as_cost(journal, cloud, fault):
    cloud.lease_faults.append(fault)
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    assert states(journal) == [LeaseState.SENT]
    assert usd_per_hour(journal.leases()) == 1.0
    assert len(cloud.asked) == 1


async def test_a_failure_that_still_made_a_machine_is_recorded_and_released(journal, cloud, clock):
    cloud.lease_faults.append("bad")
    with pytest.raises(NoCapacity, match="OCI runtime"):
        await lease(journal, cloud)
    [row] = journal.leases()
    assert (row.state, row.provider_id) == (LeaseState.DELETING, "m1")
    await resume(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.GONE]
    assert not cloud.machines


async def test_a_lease_beyond_the_budget_is_refused_with_the_figures_and_nothing_is_asked(journal, cloud):
    await lease(journal, cloud, "i0", budget=2.0)
    await lease(journal, cloud, "i1", budget=2.0)
    with pytest.raises(Refused, match=r"1 \$/h beside a fleet of 2 \$/h makes 3 \$/h; the budget is 2 \$/h"):
        await lease(journal, cloud, "i2", budget=2.0)
    assert len(cloud.asked) == len(journal.leases()) == 2


async def test_leases_in_doubt_count_against_the_budget(journal, cloud):
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud, "i0", budget=1.0)
    with pytest.raises(Refused):
        await lease(journal, cloud, "i1", budget=1.0)


async def test_a_price_that_moved_beyond_the_tolerance_is_refused(journal, cloud):
    cloud.usd_per_hour = 1.04
    assert (await lease(journal, cloud, "i0")).quoted_usd_per_hour == 1.04
    cloud.usd_per_hour = 1.06
    with pytest.raises(Refused, match=r"now costs 1.06 \$/h; the plan counted on 1 \$/h"):
        await lease(journal, cloud, "i1")


async def test_an_instance_is_not_leased_twice(journal, cloud):
    await lease(journal, cloud)
    with pytest.raises(Incomplete, match="already has lease"):
        await lease(journal, cloud)


def test_lease_ids_are_version_7_uuids_that_sort_by_time():
    ids = [new_lease_id(at) for at in (1.0, 1.5, 1_700_000_000.0)]
    assert ids == sorted(ids)
    assert all(text[14] == "7" and text[19] in "89ab" for text in ids)
