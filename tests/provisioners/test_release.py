"""Releasing until it is proven, and what was spent by then."""

import asyncio

import pytest

from planner.errors import Incomplete, OutcomeUnknown
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.ledger import spend, usd_per_hour
from provisioners.leases.release import release, resume
from provisioners.leases.resolve import resolve
from tests.provisioners.fakes import OURS, OWNER, SETTLE_S, lease, states


async def test_release_ends_only_when_two_listings_lack_the_machine(journal, cloud, clock):
    await lease(journal, cloud)
    begun = clock.at
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    [row] = journal.leases()
    assert (row.state, row.reason, row.attempts) == (LeaseState.GONE, "down", 1)
    assert clock.at - begun >= SETTLE_S


async def test_release_goes_on_asking_while_it_is_refused(journal, cloud, clock):
    await lease(journal, cloud)
    cloud.release_faults.extend(["429", "429", "500"])
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    [row] = journal.leases()
    assert (row.state, row.attempts, row.ended_at) == (LeaseState.GONE, 4, clock.at)  # until an ask was taken


async def test_release_goes_on_asking_for_days(journal, cloud, clock):
    await lease(journal, cloud)
    cloud.release_faults.extend(["429"] * 1100)
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace(patience_s=None))
    [row] = journal.leases()
    assert (row.state, row.attempts) == (LeaseState.GONE, 1101)


async def test_an_empty_listing_proves_nothing_before_a_release_was_taken(journal, cloud, clock):
    await lease(journal, cloud)
    cloud.release_faults.extend(["429"] * 1000)
    cloud.list_faults.extend(["empty"] * 1000)
    with pytest.raises(Incomplete, match="the listing is empty while 1 leases run"):
        await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.DELETING]


async def test_an_intent_is_not_given_up_because_all_else_was_released(journal, cloud, clock):
    """The listing of a provider that shows nothing any more is empty after `down` in any case."""
    await lease(journal, cloud, "i0")
    cloud.lease_faults.append("dropped after")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud, "i1")
    cloud.list_faults.extend(["empty"] * 1000)
    with pytest.raises(Incomplete, match="i1"):
        await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.GONE, LeaseState.SENT]
    cloud.list_faults.clear()
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.GONE, LeaseState.GONE]


async def test_an_intent_that_came_to_nothing_does_not_hold_a_release_up(journal, cloud, clock):
    await lease(journal, cloud, "i0")
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud, "i1")
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.GONE, LeaseState.LOST]


async def test_release_names_what_still_costs_when_patience_ends(journal, cloud, clock):
    row = await lease(journal, cloud)
    cloud.release_faults.extend(["429"] * 1000)
    with pytest.raises(Incomplete, match=rf"{row.lease_id} \(i0, fake m1, deleting, 1 \$/h, down; release refused"):
        await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.DELETING]


async def test_release_of_some_leases_leaves_the_others(journal, cloud, clock):
    one, other = await lease(journal, cloud, "i0"), await lease(journal, cloud, "i1")
    await release(journal, cloud, [one.lease_id], **OURS, reason="not in the plan", pace=clock.pace())
    assert states(journal) == [LeaseState.GONE, LeaseState.CREATED]
    assert list(cloud.machines) == [other.provider_id]


async def test_release_of_another_deployment_touches_nothing_of_this_one(journal, cloud, clock):
    await lease(journal, cloud)
    await release(journal, cloud, owner_id=OWNER, deployment="other", reason="down", pace=clock.pace())
    assert not cloud.touched
    assert states(journal) == [LeaseState.CREATED]


async def test_release_finds_out_about_leases_in_doubt_and_releases_those_too(journal, cloud, clock):
    cloud.lag_s = 20.0
    cloud.lease_faults.extend(["dropped after", "dropped before"])
    for name in ("i0", "i1"):
        with pytest.raises(OutcomeUnknown):
            await lease(journal, cloud, name)
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.GONE, LeaseState.LOST]
    assert not cloud.machines


async def test_a_machine_listed_again_after_it_was_gone_is_released_again(journal, cloud, clock):
    row = await lease(journal, cloud)
    machine = cloud.machines[row.provider_id]
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    cloud.machines[row.provider_id] = machine
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.DELETING]
    await resume(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.GONE]


async def test_resume_twice_does_nothing_the_second_time(journal, cloud, clock):
    cloud.lease_faults.append("dropped after")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud, "i0")
    await resume(journal, cloud, **OURS, pace=clock.pace())
    before = (journal.writes, list(cloud.touched), list(cloud.asked))
    await resume(journal, cloud, **OURS, pace=clock.pace())
    assert (journal.writes, cloud.touched, cloud.asked) == before


async def test_releases_side_by_side_do_not_disturb_each_other(journal, cloud, clock):
    """As apply runs them: one task a lease, and here two for the same one."""
    one, other = await lease(journal, cloud, "i0"), await lease(journal, cloud, "i1")
    kept = await lease(journal, cloud, "i2")
    asked = ([one.lease_id], [other.lease_id], [other.lease_id])
    await asyncio.gather(*(release(journal, cloud, ids, **OURS, reason="shrink", pace=clock.pace()) for ids in asked))
    assert states(journal) == [LeaseState.GONE, LeaseState.GONE, LeaseState.CREATED]
    assert list(cloud.machines) == [kept.provider_id]


async def test_spending_counts_from_the_request_to_the_proof_of_absence(journal, cloud, clock):
    await lease(journal, cloud)
    await clock.sleep(3600)
    assert spend(journal.leases(), (), clock.at).usd == 1
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    spent = spend(journal.leases(), (), clock.at).usd
    await clock.sleep(3600)
    assert spend(journal.leases(), (), clock.at).usd == spent >= 1
    assert usd_per_hour(journal.leases()) == 0.0


def test_a_row_can_not_skip_through_its_life():
    row = LeaseRow("l", OWNER, "d", "p", "i0", "fake", "here", "offer", "label", 1.0, LeaseState.SENT, 0.0)
    with pytest.raises(ValueError, match="can't go from sent to gone"):
        row.moved(LeaseState.GONE)


async def test_a_changed_key_of_the_same_account_releases_what_it_still_shows(journal, cloud, clock):
    cloud.billed = "key old"
    await lease(journal, cloud)
    cloud.billed = "key new"
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert states(journal) == [LeaseState.GONE]


async def test_what_another_key_neither_shows_nor_lists_is_kept_and_can_be_written_off(journal, cloud, clock):
    cloud.billed = "key old"
    row = await lease(journal, cloud)
    cloud.machines.clear()
    cloud.billed = "key new"
    with pytest.raises(Incomplete) as left:
        await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert "leases --forget" in left.value.hint
    [row] = journal.leases()
    journal.update_lease(row.forgotten("someone", clock.at), was=row.state)
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert (states(journal), journal.leases()[0].reason) == ([LeaseState.GONE], "forgotten by someone")
