"""What a decision rests on: one deployment at one moment, as values. Times are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from planner.deployment import Plan
from provisioners.leases.journal import LeaseRow
from provisioners.leases.limits import Limit
from thunderctl.store.values import DeploymentState
from thunderctl.twins import chosen


class Vital(StrEnum):
    """Whether a replica can serve."""

    ALIVE = "alive"
    """Its agent has said so for a while."""
    UNSURE = "unsure"
    """It was missed for the first time, or has come back just now: it stays where it is."""
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Condition:
    """A replica's vital sign, and why it is not alive."""

    vital: Vital
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know. `key` tells alerts apart while the figures in their text change."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Routing:
    """The routes in force: the plan they are of, the replicas in them, and the requests under way by replica.

    `running` is false where no router follows them, `admits` where one lets no new request in; `in_flight` is None
    where it runs and can't be asked.
    """

    plan: Plan
    replicas: frozenset[str]
    in_flight: Mapping[str, int] | None = field(default_factory=dict)
    running: bool = True
    admits: bool = True


@dataclass(frozen=True, slots=True)
class Situation:
    """A deployment at one moment. Where nothing was ever routed, `routing` is None.

    `plan_id` is of the plan that is wanted; while an `up` is half-way the routes are of another. Where that is the same
    but for machines that were replaced, `replaced` are the instances that wait to serve in their place. `rows` are
    those that may cost. `conditions` are of the routed plan's replicas. `problems` says by lease why its machine is of
    no use, as its provider lists it, `notices` what else it says of a machine, `distrust` by provider why its last
    listing proves nothing. `listed` are the leases that the last listing showed and that nothing was asked of since.
    `drained_s`: how long a lease has been draining. `moved` are replicas that are reached elsewhere than the routes
    say. `usd_per_hour` is what rows and transfers cost now. `lost` are the last leases of the plan's instances that
    have none any more. `worked_on_at` is when a command last changed the deployment: until then machines were made
    ready, however long that took. `unread` are keys of the stored spec that this version can't read.
    """

    at: float
    state: DeploymentState
    plan_id: str
    rows: tuple[LeaseRow, ...]
    routing: Routing | None = None
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[LeaseRow, ...] = ()
    replaced: tuple[str, ...] = ()
    distrust: Mapping[str, str] = field(default_factory=dict)
    listed: frozenset[str] = frozenset()
    drained_s: Mapping[str, float] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    usd_per_hour: Decimal = Decimal(0)
    budget_usd_per_hour: float = 0.0
    ready_deadline_s: float = 1200.0
    worked_on_at: float = 0.0
    replaces: bool = True
    unread: tuple[str, ...] = ()

    @property
    def routed(self) -> frozenset[str]:
        """The replicas that get requests now."""
        routing = self.routing
        return routing.replicas if routing and routing.running and routing.admits else frozenset()

    @property
    def routes_as_wanted(self) -> bool:
        """Whether the routes are of the plan that is wanted, or of what it was before machines were replaced."""
        return self.routing is not None and (self.routing.plan.plan_id == self.plan_id or bool(self.replaced))

    def is_chosen(self, row: LeaseRow) -> bool:
        """Whether its machine is the instance, of those that run for it."""
        place = (row.instance, row.offer_id)
        return row == chosen(one for one in self.rows if one.state.runs and (one.instance, one.offer_id) == place)

    def replicas_on(self, row: LeaseRow) -> frozenset[str]:
        """The routed plan's replicas that run, or have a stage, on the machine of this lease."""
        if self.routing is None or not self.is_chosen(row):
            return frozenset()
        place = (row.instance, row.offer_id)
        mine = {one.id for one in self.routing.plan.instances if (one.id, one.offer_id) == place}
        return frozenset(one.id for one in self.routing.plan.replicas if mine & set(one.instances))
