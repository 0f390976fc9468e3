"""What a decision rests on: one deployment at one moment, as values. Times are seconds since the epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from math import inf

from planner.deployment import Plan
from provisioners.leases.journal import LeaseRow
from provisioners.leases.limits import Limit
from thunderctl.controller.adapting.assessment import Proposal
from thunderctl.fleet.leased_twice import chosen
from thunderctl.fleet.resting import Resting, replicas_at_rest
from thunderctl.store.values import DeploymentState


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

    `running` is false where no router follows them, `admits` where one lets no new request in, or may run elsewhere
    while no link leads to it: routes that are put in force mend both. `in_flight` is None where it can't be asked.
    `behind`: they are still those of another plan, from which `plan` takes over. `deaths`: how often a router died on
    its port, where its supervisor says so, and since when the one after the last of them serves.
    """

    plan: Plan
    replicas: frozenset[str]
    in_flight: Mapping[str, int] | None = field(default_factory=dict)
    running: bool = True
    admits: bool = True
    behind: bool = False
    deaths: tuple[int, float] = (0, 0.0)


@dataclass(frozen=True, slots=True)
class Situation:
    """A deployment at one moment. Where nothing was ever routed, `routing` is None.

    `plan_id` is of the plan that is wanted; while an `up` is half-way the routes are of another. Where both are over
    the same engines, `routing` is of the one wanted, and `behind`. Where the other is the same but for machines that
    were replaced, `replaced` are the instances that wait to serve in their place. `rows` are
    those that may cost. `conditions` are of the routed plan's replicas. `problems` says by lease why its machine is of
    no use, as its provider lists it, `notices` what else it says of a machine, `distrust` by provider why its last
    listing proves nothing. `listed` are the leases that the last listing showed and that nothing was asked of since.
    `drained_s`: how long a lease has been draining. `moved` are replicas that are reached elsewhere than the routes
    say. `usd_per_hour` is what rows and transfers cost now. `lost` are the last leases of the plan's instances that
    have none any more; `unwatched` are those of them that may have ended themselves, as nobody had spoken to their
    machines for long, `silent` the leases whose agents don't answer now. `left_usd` is what is left of the money that
    may be spent in all. `worked_on_at` is when a command last changed the deployment: until then machines were made
    ready, however long that took. `unread` are keys of the stored spec that this version can't read.
    `unsent` says by lease since when a renewed certificate waits to be put on its machine, where that is long.
    `resting` is what of the plan was released on purpose, `wanted_rest` what should be by now (None: nobody knows).
    `proposal` is what would suit the workload better than the phases and routes in force. `replacing` are the instances
    that an `up` of the controller's brings up now.
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
    unwatched: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    left_usd: float = inf
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
    unsent: Mapping[str, float] = field(default_factory=dict)
    resting: Resting = field(default_factory=Resting)
    wanted_rest: Resting | None = None
    proposal: Proposal | None = None
    replacing: frozenset[str] = frozenset()
    _known: "_Known" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plan = self.routing.plan if self.routing else None
        object.__setattr__(self, "_known", _known_of(self.rows, plan, self.resting))

    @property
    def routed(self) -> frozenset[str]:
        """The replicas that get requests now."""
        routing = self.routing
        return routing.replicas if routing and routing.running and routing.admits else frozenset()

    @property
    def routes_as_wanted(self) -> bool:
        """Whether the routes are of the plan that is wanted, or of what it was before machines were replaced."""
        return self.routing is not None and (self.routing.plan.plan_id == self.plan_id or bool(self.replaced))

    def rests(self, row: LeaseRow) -> bool:
        """Whether its machine is of an instance that rests, or is to."""
        return self.resting.rests(row.instance, row.offer_id)

    @property
    def replicas_at_rest(self) -> frozenset[str]:
        """The routed plan's replicas that can't run while instances rest."""
        return self._known.at_rest

    def is_chosen(self, row: LeaseRow) -> bool:
        """Whether its machine is the instance, of those that run for it."""
        return row == self._known.chosen.get((row.instance, row.offer_id))

    def replicas_on(self, row: LeaseRow) -> frozenset[str]:
        """The routed plan's replicas that run, or have a stage, on the machine of this lease."""
        found = self._known.replicas.get((row.instance, row.offer_id), frozenset())
        return found if found and self.is_chosen(row) else frozenset()


@dataclass(frozen=True, slots=True)
class _Known:
    """What is asked for each lease in turn, worked out once for all: by instance and offer, the lease that is it, and
    the replicas that need it."""

    chosen: Mapping[tuple[str, str], LeaseRow]
    replicas: Mapping[tuple[str, str], frozenset[str]]
    at_rest: frozenset[str]


def _known_of(rows: Iterable[LeaseRow], plan: Plan | None, resting: Resting) -> _Known:
    running: dict[tuple[str, str], list[LeaseRow]] = {}
    for row in rows:
        if row.state.runs:
            running.setdefault((row.instance, row.offer_id), []).append(row)
    best = {place: one for place, some in running.items() if (one := chosen(some))}
    if plan is None:
        return _Known(best, {}, frozenset())
    needing: dict[str, list[str]] = {}
    for replica in plan.replicas:
        for name in replica.instances:
            needing.setdefault(name, []).append(replica.id)
    on = {(one.id, one.offer_id): frozenset(needing.get(one.id, ())) for one in plan.instances}
    return _Known(best, on, replicas_at_rest(plan, resting.of(plan)))
