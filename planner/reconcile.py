"""Wanted plan × running fleet → the steps still needed, as values.

Capacity comes first: machines are leased, prepared and their engines started before traffic moves, and traffic moves
before anything is drained. Only an engine in another one's place, on its GPUs or under its name on the same machine, is
stopped before that one starts, and not before all others have started. Engines of two plans may bear one name: they are
told apart by their leases. A flip is only a route step, as every engine can serve every phase. Doing the steps and
looking again gives no steps; looking again half-way gives the rest. Every step may be done twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from planner.deployment import Instance, Phase, Plan, Replica, Route, Stage


class StepKind(StrEnum):
    """What a step does: to an instance (lease, prepare, release), a replica (start, drain, stop) or all routes."""

    LEASE = "lease"
    PREPARE = "prepare"
    START = "start"
    ROUTE = "route"
    DRAIN = "drain"
    STOP = "stop"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing apply does.

    `id` is the plan's instance or replica id; of a release it is the running lease's own id; of a route, `routes`.
    `lease_id` is of the machine that an engine which is drained or stopped runs on. `without` are replicas that routes
    leave out meanwhile. `again`: it is done to what is there and wanted, which is to run other code (`refreshing.py`).
    """

    what: StepKind
    id: str
    detail: str = ""
    lease_id: str = ""
    without: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """A leased machine: which plan instance it was leased as, and for which offer.

    `prepared`: it can run engines, as its agent answers. `ready`: its lease says that it could, once it was prepared.
    `outdated`: its agent and engines run other code than ours.
    """

    lease_id: str
    instance_id: str
    offer_id: str
    prepared: bool = False
    ready: bool = False
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class RunningReplica:
    """An engine that exists: `serving` once it is ready, `draining` once traffic was taken off it.

    `leases` are of its stages' machines, one a stage; the agent on the first one runs it.
    """

    id: str
    stages: tuple[Stage, ...]
    leases: tuple[str, ...]
    serving: bool = False
    draining: bool = False


@dataclass(frozen=True, slots=True)
class FleetState:
    """What runs now: the machines, the engines, and the phases and routes that the router follows in `epoch`."""

    instances: tuple[RunningInstance, ...] = ()
    replicas: tuple[RunningReplica, ...] = ()
    phases: Mapping[str, Phase] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    epoch: int = 0


def reconcile(wanted: Plan, running: FleetState) -> tuple[Step, ...]:
    """What is left to do, in order. Engines whose place is still taken by an unwanted one start after it stopped."""
    kept = kept_instances(wanted, running)
    in_place = [old for old in running.replicas if _in_place(old, wanted, kept)]
    unwanted = [old for old in running.replicas if old not in in_place]
    serving = {old.id for old in in_place if old.serving and not old.draining}
    todo = [new for new in wanted.replicas if new.id not in serving]
    blockers = [old for old in unwanted if any(_collide(old, new, kept) for new in todo)]
    others = [old for old in unwanted if old not in blockers]
    blocked = [new for new in todo if any(_collide(old, new, kept) for old in blockers)]
    return (
        *_capacity(wanted, kept),
        *_starts(new for new in todo if new not in blocked),
        *_retire(blockers),
        *_starts(blocked),
        *_reroute(wanted, running, {old.id for old in in_place}, changed=bool(todo or unwanted)),
        *_retire(others),
        *_releases(running, kept.values()),
    )


def teardown(running: FleetState) -> tuple[Step, ...]:
    """Everything stopped, everything released; nothing is drained first."""
    return (*_stops(running.replicas), *_releases(running, ()))


def kept_instances(wanted: Plan, running: FleetState) -> dict[str, RunningInstance]:
    """Plan instance id → the lease that already is that instance: same id, same offer.

    Where two are, one that was made ready, then one that is prepared, then the older one: a machine whose create got no
    answer may appear when another one has long taken its place.
    """
    leases: dict[tuple[str, str], RunningInstance] = {}
    for lease in sorted(running.instances, key=lambda one: (not one.ready, not one.prepared)):
        leases.setdefault((lease.instance_id, lease.offer_id), lease)
    matched = {instance.id: leases.get((instance.id, instance.offer_id)) for instance in wanted.instances}
    return {name: lease for name, lease in matched.items() if lease is not None}


def _in_place(old: RunningReplica, wanted: Plan, kept: Mapping[str, RunningInstance]) -> bool:
    """This engine is one of the plan's, on the machines where the plan wants it."""
    new = next((replica for replica in wanted.replicas if replica.id == old.id), None)
    return new is not None and old.stages == new.stages and old.leases == _leases(new, kept)


def _leases(new: Replica, kept: Mapping[str, RunningInstance]) -> tuple[str, ...]:
    """The leases of the machines that a wanted replica's stages are to run on; an empty one where there is none yet."""
    return tuple(kept[stage.instance].lease_id if stage.instance in kept else "" for stage in new.stages)


def _collide(old: RunningReplica, new: Replica, kept: Mapping[str, RunningInstance]) -> bool:
    """On one machine they need the same GPU or bear the same name: the old one has to go before the new one starts."""
    leases = _leases(new, kept)
    taken = {(lease, gpu) for stage, lease in zip(old.stages, old.leases, strict=True) for gpu in stage.gpus}
    needed = {(lease, gpu) for stage, lease in zip(new.stages, leases, strict=True) for gpu in stage.gpus}
    return (old.id, old.leases[0]) == (new.id, leases[0]) or bool(taken & needed)


def _capacity(wanted: Plan, kept: Mapping[str, RunningInstance]) -> list[Step]:
    absent = [instance for instance in wanted.instances if instance.id not in kept]
    unprepared = [i for i in wanted.instances if i.id not in kept or not kept[i.id].prepared]
    leases = [Step(StepKind.LEASE, instance.id, _what(instance)) for instance in absent]
    return leases + [Step(StepKind.PREPARE, instance.id, _what(instance)) for instance in unprepared]


def _reroute(wanted: Plan, running: FleetState, in_place: set[str], *, changed: bool) -> list[Step]:
    phases = {replica.id: replica.phase for replica in wanted.replicas}
    if not changed and phases == dict(running.phases) and set(wanted.routes) == set(running.routes):
        return []
    flips = [
        f"{name} {running.phases[name]} → {phase}"
        for name, phase in phases.items()
        if name in in_place and running.phases.get(name, phase) is not phase
    ]
    detail = f"{len(wanted.routes)} routes" + (f"; flips {', '.join(flips)}" if flips else "")
    return [Step(StepKind.ROUTE, "routes", detail)]


def _retire(replicas: Iterable[RunningReplica]) -> list[Step]:
    """Drain all, then stop all: they finish their requests at the same time."""
    old = list(replicas)
    drains = [Step(StepKind.DRAIN, replica.id, lease_id=replica.leases[0]) for replica in old if replica.serving]
    return drains + _stops(old)


def _stops(replicas: Iterable[RunningReplica]) -> list[Step]:
    return [Step(StepKind.STOP, replica.id, lease_id=replica.leases[0]) for replica in replicas]


def _starts(replicas: Iterable[Replica]) -> list[Step]:
    return [Step(StepKind.START, replica.id, _where(replica)) for replica in replicas]


def _releases(running: FleetState, kept: Iterable[RunningInstance]) -> list[Step]:
    staying = {lease.lease_id for lease in kept}
    return [
        Step(StepKind.RELEASE, lease.lease_id, lease.offer_id)
        for lease in running.instances
        if lease.lease_id not in staying
    ]


def _what(instance: Instance) -> str:
    kind = "interruptible" if instance.interruptible else "on-demand"
    gpus = f"{instance.gpu_count} x {instance.gpu}"
    return f"{gpus}, {f'{instance.provider} {instance.region}'.strip()}, {kind}, {instance.usd_per_hour:.2f} $/h"


def _where(replica: Replica) -> str:
    return f"{replica.phase} TP{replica.tp} PP{replica.pp} on {', '.join(replica.instances)}"
