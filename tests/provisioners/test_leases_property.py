"""Random schedules of commands, faults and kills: the invariants of the lease protocol hold after every one.

Two deployments of one owner share an account with others' machines. A host may take a machine back, raise its price or
be outbid; leases run out of time and money and are released; a store may be lost, and `gc --owner` finds its machines.
"""

from collections.abc import Awaitable
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provisioners.base import Label, Provisioner
from provisioners.leases.acquire import acquire
from provisioners.leases.adopt import condemned
from provisioners.leases.journal import Journal, LeaseState
from provisioners.leases.ledger import spend, usd_per_hour
from provisioners.leases.limits import Due, limits
from provisioners.leases.observe import strays
from provisioners.leases.release import release, resume
from tests.provisioners.fakes import (
    OWNER,
    SETTLE_S,
    SOMEBODY_ELSE,
    FakeClock,
    FakeCloud,
    MemoryJournal,
    instance,
    intent,
)
from tests.provisioners.mortal import run_mortal

BUDGET, MAX_TOTAL_USD, MAX_HOURS = 2.0, 20.0, 12.0
DEPLOYMENTS = ("d", "staging")
DEPLOYMENT = st.sampled_from(DEPLOYMENTS)
NAMES = st.sampled_from(["i0", "i1", "i2"])
LEASE_FAULTS = st.sampled_from(["", "", "refused", "429", "dropped before", "dropped after", "timeout", "bad"])
LIST_FAULTS = st.lists(st.sampled_from(["", "failed", "truncated", "unreadable", "empty"]), max_size=3).map(
    lambda faults: [fault for fault in faults for _ in range(20)]  # each lasts longer than the settle time
)
RELEASE_FAULTS = st.lists(st.sampled_from(["", "429", "500", "500 before"]), max_size=4)
CRASHES = st.sampled_from(["", "", "C0", "C1", "C2", "C3", "C4", "C5", "C6", "C6-after", "C7", "C8"])


class LeaseLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.journal = MemoryJournal()
        self.cloud = FakeCloud(self.clock)
        self.cloud.put_foreign("theirs", str(Label(SOMEBODY_ELSE, "d", "x")))
        self.cloud.put_foreign("unlabelled", "my notebook")

    def attempt(self, command, crash: str = "", faults: list[str] = (), refusals: list[str] = ()) -> None:
        """Run a command that may fail in ways a user is told of, or be killed at a crash point."""
        self.cloud.list_faults.extend(faults)
        self.cloud.release_faults.extend(refusals)
        run_mortal(command, self.journal, self.cloud, crash)
        for queue in (self.cloud.lease_faults, self.cloud.list_faults, self.cloud.release_faults):
            queue.clear()

    @rule(
        deployment=DEPLOYMENT,
        name=NAMES,
        fault=LEASE_FAULTS,
        crash=CRASHES,
        lag_s=st.sampled_from([0, 30, SETTLE_S - 1]),
    )
    def lease(self, deployment: str, name: str, fault: str, crash: str, lag_s: float) -> None:
        self.cloud.lag_s = lag_s
        self.cloud.lease_faults.append(fault)
        wanted = replace(intent(instance(name), deployment), expires_at=self.clock.at + MAX_HOURS * 3600)
        before = len(self.journal.leases())
        self.attempt(lambda j, p: acquire(j, p, wanted, budget_usd_per_hour=BUDGET, now=self.clock), crash)
        if len(self.journal.leases()) > before:  # prices that rise later are not what was asked for
            assert usd_per_hour(self.journal.leases(deployment)) <= BUDGET

    @rule(deployment=DEPLOYMENT, faults=LIST_FAULTS, refusals=RELEASE_FAULTS, crash=CRASHES)
    def resume_after_a_crash(self, deployment: str, faults: list[str], refusals: list[str], crash: str) -> None:
        self.attempt(lambda j, p: self.resume(j, p, deployment), crash, faults, refusals)

    @rule(deployment=DEPLOYMENT, faults=LIST_FAULTS, refusals=RELEASE_FAULTS, crash=CRASHES)
    def down(self, deployment: str, faults: list[str], refusals: list[str], crash: str) -> None:
        self.attempt(lambda j, p: self.release(j, p, deployment), crash, faults, refusals)

    @precondition(lambda self: self.journal.leases())
    @rule(data=st.data(), refusals=RELEASE_FAULTS, crash=CRASHES)
    def release_one(self, data, refusals: list[str], crash: str) -> None:
        row = data.draw(st.sampled_from(self.journal.leases()))
        self.attempt(lambda j, p: self.release(j, p, row.deployment, [row.lease_id]), crash, refusals=refusals)

    @rule(deployment=DEPLOYMENT, crash=CRASHES)
    def what_is_due_is_released(self, deployment: str, crash: str) -> None:
        """As the controller does, by time and by money."""
        rows = self.journal.leases(deployment)
        spent = spend(rows, (), self.clock.at).usd
        found = limits(
            rows, self.clock.at, spent_usd=spent, usd_per_hour=usd_per_hour(rows), max_total_usd=MAX_TOTAL_USD
        )
        due = [lease_id for limit in found if limit.due is Due.RELEASE for lease_id in limit.lease_ids]
        self.attempt(lambda j, p: self.release(j, p, deployment, due), crash)

    @precondition(lambda self: self.cloud.ours())
    @rule(data=st.data(), what=st.sampled_from(["taken back", "outbid", "dearer", "cheaper"]))
    def befalls_a_machine(self, data, what: str) -> None:
        machine = self.cloud.ours()[data.draw(st.sampled_from(sorted(self.cloud.ours())))]
        changed = {
            "outbid": replace(machine, state="stopped", usd_per_hour=0.02, problem="outbid"),
            "dearer": replace(machine, usd_per_hour=machine.usd_per_hour * 1.2),
            "cheaper": replace(machine, usd_per_hour=machine.usd_per_hour * 0.8),
        }
        self.cloud.machines.pop(machine.provider_id)
        if what in changed:
            self.cloud.machines[machine.provider_id] = changed[what]

    @rule(crash=CRASHES)
    def the_store_is_lost(self, crash: str) -> None:
        """Another store begins empty; `gc --owner` with the id that `up` printed finds and releases what ran."""
        self.journal = MemoryJournal()
        self.attempt(self.gc, crash)
        while self.cloud.ours():
            self.attempt(self.gc)

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.at += seconds

    async def gc(self, journal: Journal, provisioner: Provisioner) -> None:
        self.cloud.lag_s = 0.0
        listing = await provisioner.observe()
        for machine in strays(listing.machines, journal.leases(), OWNER):
            journal.add_lease(condemned(machine, "fake", journal.leases(), self.clock()))
        for deployment in DEPLOYMENTS:
            leaving = [row.lease_id for row in journal.leases(deployment) if row.state is LeaseState.DELETING]
            await self.release(journal, provisioner, deployment, leaving)

    def resume(self, journal: Journal, provisioner: Provisioner, deployment: str) -> Awaitable[object]:
        return resume(journal, provisioner, owner_id=OWNER, deployment=deployment, pace=self.clock.pace(400.0))

    def release(
        self, journal: Journal, provisioner: Provisioner, deployment: str, lease_ids: list[str] | None = None
    ) -> Awaitable[object]:
        pace = self.clock.pace(400.0)
        return release(journal, provisioner, lease_ids, owner_id=OWNER, deployment=deployment, reason="down", pace=pace)

    @invariant()
    def what_bills_is_known_as_costing(self) -> None:
        """Or as an intent that only empty listings lacked: that counts at the gate."""
        known = {row.lease_id for row in self.journal.leases() if row.state.may_cost or row.is_unseen}
        assert self.cloud.ours().keys() <= known

    @invariant()
    def foreign_machines_are_untouched(self) -> None:
        assert {"theirs", "unlabelled"} <= self.cloud.machines.keys()
        assert not {"theirs", "unlabelled"} & set(self.cloud.touched)

    def teardown(self) -> None:
        """With the faults over: resume finds the truth, twice is once, and down leaves nothing."""
        for deployment in DEPLOYMENTS:
            self.attempt(lambda j, p, name=deployment: self.resume(j, p, name))
        rows = self.journal.leases()
        assert self.cloud.ours().keys() == {row.lease_id for row in rows if row.state.may_cost}
        assert not any(row.state in (LeaseState.SENT, LeaseState.DELETING) for row in rows)
        live = {machine.provider_id: machine.usd_per_hour for machine in self.cloud.machines.values()}
        assert all(row.usd_per_hour == live[row.provider_id] for row in rows if row.state.may_cost)
        done = (self.journal.writes, len(self.cloud.touched))
        for deployment in DEPLOYMENTS:
            self.attempt(lambda j, p, name=deployment: self.resume(j, p, name))
        assert (self.journal.writes, len(self.cloud.touched)) == done
        for deployment in DEPLOYMENTS:
            self.attempt(lambda j, p, name=deployment: self.release(j, p, name))
        assert not self.cloud.ours()
        assert not any(row.state.may_cost for row in self.journal.leases())


TestLeaseLife = LeaseLife.TestCase
TestLeaseLife.settings = settings(
    max_examples=100, stateful_step_count=15, database=None, suppress_health_check=list(HealthCheck)
)
