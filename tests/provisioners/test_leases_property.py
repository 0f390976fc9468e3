"""Random schedules of commands, faults and kills: the invariants of the lease protocol hold after every one."""

import asyncio
import os
from contextlib import suppress
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from planner.errors import ThunderError
from provisioners.base import Label
from provisioners.leases.acquire import acquire
from provisioners.leases.journal import LeaseState
from provisioners.leases.ledger import usd_per_hour
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

BUDGET = 2.0
NAMES = st.sampled_from(["i0", "i1", "i2", "i3"])
LEASE_FAULTS = st.sampled_from(["", "", "refused", "429", "dropped before", "dropped after", "timeout", "bad"])
LIST_FAULTS = st.lists(st.sampled_from(["", "failed", "truncated"]), max_size=3).map(
    lambda faults: [fault for fault in faults for _ in range(20)]  # each lasts longer than the settle time
)
RELEASE_FAULTS = st.lists(st.sampled_from(["", "429", "500"]), max_size=4)
CRASHES = st.sampled_from(["", "", "C0", "C1", "C2", "C3", "C4", "C5", "C6", "C6-after", "C7"])


class Killed(BaseException):
    """The process died here."""


def die() -> None:
    raise Killed


class LeaseLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.journal = MemoryJournal()
        self.cloud = FakeCloud(self.clock)
        self.cloud.put_foreign("theirs", str(Label(SOMEBODY_ELSE, "d", "x")))
        self.cloud.put_foreign("unlabelled", "my notebook")

    def attempt(self, coroutine, crash: str = "") -> None:
        """Run a command that may fail in ways a user is told of, or be killed at a crash point."""
        with (
            patch.dict(os.environ, {"THUNDER_CRASH_AT": crash}),
            patch("provisioners.crash.die", die),
            suppress(ThunderError, Killed),
        ):
            asyncio.run(coroutine)
        for faults in (self.cloud.lease_faults, self.cloud.list_faults, self.cloud.release_faults):
            faults.clear()

    def resume(self):
        return resume(self.journal, self.cloud, owner_id=OWNER, deployment="d", pace=self.clock.pace(400.0))

    def release(self, lease_ids=None):
        pace = self.clock.pace(400.0)
        return release(self.journal, self.cloud, lease_ids, owner_id=OWNER, deployment="d", reason="down", pace=pace)

    @rule(name=NAMES, fault=LEASE_FAULTS, crash=CRASHES, lag_s=st.sampled_from([0.0, 30.0, SETTLE_S - 1]))
    def lease(self, name: str, fault: str, crash: str, lag_s: float) -> None:
        self.cloud.lag_s = lag_s
        self.cloud.lease_faults.append(fault)
        wanted = intent(instance(name))
        self.attempt(acquire(self.journal, self.cloud, wanted, budget_usd_per_hour=BUDGET, now=self.clock), crash)

    @rule(faults=LIST_FAULTS, refusals=RELEASE_FAULTS, crash=CRASHES)
    def resume_after_a_crash(self, faults: list[str], refusals: list[str], crash: str) -> None:
        self.cloud.list_faults.extend(faults)
        self.cloud.release_faults.extend(refusals)
        self.attempt(self.resume(), crash)

    @rule(faults=LIST_FAULTS, refusals=RELEASE_FAULTS, crash=CRASHES)
    def down(self, faults: list[str], refusals: list[str], crash: str) -> None:
        self.cloud.list_faults.extend(faults)
        self.cloud.release_faults.extend(refusals)
        self.attempt(self.release(), crash)

    @precondition(lambda self: self.journal.leases())
    @rule(data=st.data(), refusals=RELEASE_FAULTS, crash=CRASHES)
    def release_one(self, data, refusals: list[str], crash: str) -> None:
        lease_id = data.draw(st.sampled_from([row.lease_id for row in self.journal.leases()]))
        self.cloud.release_faults.extend(refusals)
        self.attempt(self.release([lease_id]), crash)

    @precondition(lambda self: self.cloud.ours())
    @rule(data=st.data())
    def host_takes_a_machine_back(self, data) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.cloud.ours())))
        del self.cloud.machines[self.cloud.ours()[lease_id].provider_id]

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.at += seconds

    @invariant()
    def what_bills_is_known_as_costing(self) -> None:
        known = {row.lease_id for row in self.journal.leases() if row.state.may_cost}
        assert self.cloud.ours().keys() <= known

    @invariant()
    def spending_stays_within_the_budget(self) -> None:
        assert sum(machine.usd_per_hour for machine in self.cloud.ours().values()) <= BUDGET
        assert usd_per_hour(self.journal.leases()) <= BUDGET

    @invariant()
    def foreign_machines_are_untouched(self) -> None:
        assert {"theirs", "unlabelled"} <= self.cloud.machines.keys()
        assert not {"theirs", "unlabelled"} & set(self.cloud.touched)

    def teardown(self) -> None:
        """With the faults over: resume finds the truth, twice is once, and down leaves nothing."""
        asyncio.run(self.resume())
        rows = self.journal.leases()
        assert self.cloud.ours().keys() == {row.lease_id for row in rows if row.state.may_cost}
        assert not any(row.state in (LeaseState.SENT, LeaseState.DELETING) for row in rows)
        done = (self.journal.writes, len(self.cloud.touched))
        asyncio.run(self.resume())
        assert (self.journal.writes, len(self.cloud.touched)) == done
        asyncio.run(self.release())
        assert not self.cloud.ours()
        assert not any(row.state.may_cost for row in self.journal.leases())


TestLeaseLife = LeaseLife.TestCase
TestLeaseLife.settings = settings(
    max_examples=100, stateful_step_count=15, database=None, suppress_health_check=list(HealthCheck)
)
