"""What a provider has against what the journal says."""

from dataclasses import replace

import pytest

from planner.errors import Incomplete, OutcomeUnknown
from provisioners.base import Label
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
from provisioners.leases.observe import Absences, look
from provisioners.leases.release import release
from provisioners.leases.resolve import resolve
from tests.provisioners.fakes import OURS, OWNER, SETTLE_S, SOMEBODY_ELSE, lease, states


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
