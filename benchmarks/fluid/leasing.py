"""What the `up` of a replacement does to a simulated world: it leases what is missing, at the price of the hour."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from benchmarks.fluid.cloud import SpotCloud
from planner.advice.startup import startup
from planner.deployment import Instance, Plan
from provisioners.base import Label
from provisioners.leases.budget import ROUNDING_USD
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.ledger import usd_per_hour
from tests.provisioners.fakes import OWNER
from tests.thunderctl.controller.worlds import MemoryStore

DEPLOYMENT = "d"


@dataclass(slots=True)
class Leases:
    """The leases of one simulated deployment: how they are made, and when what was made serves."""

    store: MemoryStore
    cloud: SpotCloud
    plan: Plan
    made: int = 0

    def lease(self, instance: Instance, *, ready: bool = False) -> LeaseRow:
        self.made += 1
        lease_id, now = f"l{self.made}", self.cloud.clock.at
        label = Label(OWNER, DEPLOYMENT, lease_id)
        price = self.cloud.price_of(instance)
        machine = self.cloud.make(label, price)
        row = LeaseRow(
            lease_id,
            OWNER,
            DEPLOYMENT,
            self.plan.plan_id,
            instance.id,
            "vast",
            instance.region,
            instance.offer_id,
            str(label),
            price,
            LeaseState.READY if ready else LeaseState.CREATED,
            now,
            sent_at=now,
            provider_id=machine.provider_id,
            account="A",
        )
        self.store.add_lease(row)
        return row


@dataclass(slots=True)
class Up:
    """One run of it, for the instances that it was begun for, until what it leased serves or is gone.

    As the real one does it holds the deployment's lock for no longer than a lease takes, which is no time here.
    """

    leases: Leases
    budget_usd_per_hour: float
    resting: Callable[[], frozenset[str]]
    left: dict[str, float] = field(default_factory=dict)
    refused: int = 0

    def begin(self, instances: Collection[str]) -> None:
        """Ask for each of them that has no lease which may cost, and is to be there, within the budget."""
        leases = self.leases
        rows = leases.store.leases(DEPLOYMENT)
        there = {row.instance for row in rows if row.state.may_cost}
        costs, asleep = float(usd_per_hour(rows)), self.resting()
        for one in leases.plan.instances:
            if one.id not in instances or one.id in there or one.id in asleep:
                continue
            price = leases.cloud.price_of(one)
            if costs + price > self.budget_usd_per_hour + ROUNDING_USD:
                self.refused += 1
                continue
            costs += price
            row = leases.lease(one)
            self.left[row.lease_id] = row.created_at + startup(leases.plan.llm, one).seconds

    def passed(self) -> None:
        """What serves by now is ready."""
        rows = {row.lease_id: row for row in self.leases.store.leases(DEPLOYMENT)}
        for lease_id, at in list(self.left.items()):
            row = rows[lease_id]
            if row.state is not LeaseState.CREATED:
                del self.left[lease_id]
            elif row.provider_id not in self.leases.cloud.machines:
                gone = row.moved(
                    LeaseState.GONE, reason="taken back while it started", ended_at=self.leases.cloud.clock.at
                )
                self.leases.store.update_lease(gone, was=row.state)
                del self.left[lease_id]
            elif at <= self.leases.cloud.clock.at:
                self.leases.store.update_lease(row.moved(LeaseState.READY), was=row.state)
                del self.left[lease_id]

    @property
    def instances(self) -> frozenset[str]:
        """Those that it still brings up."""
        rows = {row.lease_id: row for row in self.leases.store.leases(DEPLOYMENT)}
        return frozenset(rows[one].instance for one in self.left)
