"""What a provider has against what the journal says."""

from dataclasses import replace

import pytest

from planner.errors import Incomplete, OutcomeUnknown, Refused
from provisioners.base import Label, Listing, Machine
from provisioners.leases.journal import LATE_S, LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.observe import Absences, look
from provisioners.leases.release import release
from provisioners.leases.resolve import resolve
from tests.provisioners.fakes import OURS, OWNER, SETTLE_S, SOMEBODY_ELSE, FakeCloud, lease, states


async def test_a_lease_in_doubt_is_adopted_when_a_listing_shows_it(journal, cloud, clock):
    cloud.lag_s = 30.0
    cloud.lease_faults.append("dropped after")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    [row] = journal.leases()
    assert (row.state, row.provider_id, row.live_usd_per_hour) == (LeaseState.CREATED, "m1", 1.0)


async def test_a_lease_in_doubt_is_lost_after_two_complete_listings_a_settle_time_apart(journal, cloud, clock):
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    begun = clock.at
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.LOST]
    assert clock.at - begun >= SETTLE_S


async def test_a_consistent_provider_needs_no_settling_but_still_two_listings(journal, cloud, clock):
    cloud.consistent = True
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    begun = clock.at
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert (states(journal), clock.at - begun, cloud.listings) == ([LeaseState.LOST], 0.0, 2)


async def test_listings_that_are_not_complete_prove_nothing_and_say_why(journal, cloud, clock):
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    cloud.list_faults.extend(["failed"] * 1000)
    with pytest.raises(Incomplete, match="410 Gone"):
        await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.SENT]


async def test_an_empty_listing_proves_nothing_while_leases_run(journal, cloud, clock):
    await lease(journal, cloud)
    cloud.list_faults.extend(["empty"] * 1000)
    with pytest.raises(Incomplete, match="empty while 1 leases run"):
        await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.CREATED]


async def test_a_machine_taken_back_by_its_host_is_gone_after_two_listings(journal, cloud, clock):
    taken, kept = await lease(journal, cloud, "i0"), await lease(journal, cloud, "i1")
    del cloud.machines[taken.provider_id]
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    gone, running = journal.leases()
    assert (gone.state, gone.reason) == (LeaseState.GONE, "the provider no longer lists it")
    assert running == kept


async def test_a_lost_lease_lives_again_when_its_machine_appears(journal, cloud, clock):
    cloud.lease_faults.append("dropped after")
    cloud.lag_s = 10 * SETTLE_S
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.LOST]
    await clock.sleep(cloud.lag_s)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.CREATED]


async def test_the_live_price_follows_the_provider(journal, cloud, clock):
    row = await lease(journal, cloud)
    cloud.machines[row.provider_id] = replace(cloud.machines[row.provider_id], usd_per_hour=1.5)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert usd_per_hour(journal.leases()) == 1.5


async def test_strays_are_reported_and_never_touched(journal, cloud, clock):
    await lease(journal, cloud)
    cloud.put_foreign("theirs", str(Label(SOMEBODY_ELSE, "d", "x")))
    cloud.put_foreign("unlabelled", "my notebook")
    cloud.put_foreign("stray", str(Label(OWNER, "d", "forgotten")))
    sight = await look(journal, cloud, Absences(0.0), **OURS, pace=clock.pace())
    assert [machine.provider_id for machine in sight.strays] == ["stray"]
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())
    assert sorted(cloud.machines) == ["stray", "theirs", "unlabelled"]
    assert cloud.touched == ["m1"]


async def test_two_machines_of_one_label_are_one_lease_and_one_stray(journal, cloud, clock):
    row = await lease(journal, cloud)
    cloud.machines["twin"] = replace(cloud.machines[row.provider_id], provider_id="twin")
    sight = await look(journal, cloud, Absences(0.0), **OURS, pace=clock.pace())
    assert [machine.provider_id for machine in sight.strays] == ["twin"]


# Whose account a listing is of.


async def test_the_account_is_on_the_lease_from_its_intent_on(journal, cloud):
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    assert [row.account for row in journal.leases()] == ["A"]


async def test_a_key_of_another_account_proves_nothing_whatever_that_account_has(journal, cloud, clock):
    await lease(journal, cloud)
    other = FakeCloud(clock, billed="B", machines={"m9": Machine("m9", "theirs", "running", 1.0)})
    for act in (resolve(journal, other, **OURS, pace=clock.pace()), end(journal, other, clock)):
        with pytest.raises(Incomplete, match="this key is of account B; the leases of i0 are of account A"):
            await act
    assert states(journal) == [LeaseState.DELETING]
    assert cloud.machines
    await end(journal, cloud, clock)
    assert (states(journal), dict(cloud.machines)) == ([LeaseState.GONE], {})


async def test_an_account_that_can_not_be_asked_for_proves_nothing_either(journal, cloud, clock):
    taken = await lease(journal, cloud)
    await lease(journal, cloud, "i1")
    del cloud.machines[taken.provider_id]
    cloud.billed = ""
    with pytest.raises(Incomplete, match="Who is billed can't be asked"):
        await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert states(journal) == [LeaseState.CREATED, LeaseState.CREATED]


async def test_an_account_that_shows_a_lease_is_that_leases_account_by_whatever_name(journal, cloud, clock):
    taken = await lease(journal, cloud)
    kept = await lease(journal, cloud, "i1")
    del cloud.machines[taken.provider_id]
    cloud.billed = "key 1234"
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    gone, running = journal.leases()
    assert (gone.state, running) == (LeaseState.GONE, replace(kept, account="key 1234"))


async def test_leases_from_before_accounts_were_kept_are_released_as_ever(journal, cloud, clock):
    row = await lease(journal, cloud)
    journal.update_lease(replace(row, account=""), was=row.state)
    await end(journal, cloud, clock)
    assert states(journal) == [LeaseState.GONE]


async def end(journal, cloud, clock):
    await release(journal, cloud, **OURS, reason="down", pace=clock.pace())


async def test_an_intent_that_only_empty_listings_lacked_counts_in_the_budget_for_a_day(journal, cloud, clock):
    cloud.lease_faults.append("dropped after")
    cloud.list_faults.extend(["empty"] * 40)
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    [row] = journal.leases()
    assert (row.state, row.is_unseen, len(cloud.machines)) == (LeaseState.LOST, True, 1)
    with pytest.raises(Refused, match="beside a fleet of 1") as refused:
        await lease(journal, cloud, budget=1.5)
    assert f"{row.lease_id}" in refused.value.hint
    clock.at += LATE_S
    await lease(journal, cloud, budget=1.5)


async def test_a_listing_that_shows_another_machine_settles_what_empty_ones_left_open(journal, cloud, clock):
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert journal.leases()[0].is_unseen
    cloud.put_foreign("theirs", "my notebook")
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    assert not journal.leases()[0].is_unseen
    await lease(journal, cloud, budget=1.0)


async def test_an_intent_that_a_listing_lacked_which_shows_others_counts_no_more(journal, cloud, clock):
    cloud.put_foreign("theirs", "my notebook")
    cloud.lease_faults.append("dropped before")
    with pytest.raises(OutcomeUnknown):
        await lease(journal, cloud)
    await resolve(journal, cloud, **OURS, pace=clock.pace())
    [row] = journal.leases()
    assert (row.state, row.is_unseen) == (LeaseState.LOST, False)


async def test_what_its_provider_calls_terminated_is_gone_even_as_a_whole_fleet(journal, cloud, clock, monkeypatch):
    for name in ("i0", "i1"):
        await lease(journal, cloud, name)
    ended = frozenset(cloud.machines)

    async def observe():
        return Listing(True, ended=ended)

    monkeypatch.setattr(cloud, "observe", observe)
    sight = await look(journal, cloud, Absences(SETTLE_S), **OURS, pace=clock.pace())
    assert (states(journal), sight.distrust) == ([LeaseState.GONE] * 2, "")
    assert "terminated" in journal.leases()[0].reason


async def test_the_provider_is_listed_before_the_journal_is_read(journal, cloud, clock, monkeypatch):
    """A machine that another process leases in between is no stray."""
    listed = cloud.observe

    async def observe():
        await lease(journal, cloud)
        return await listed()

    monkeypatch.setattr(cloud, "observe", observe)
    sight = await look(journal, cloud, Absences(SETTLE_S), **OURS, pace=clock.pace())
    assert (len(sight.machines), sight.strays) == (1, ())
