"""Wanted plan × running fleet → the steps still needed, as values.

Capacity comes first: machines are leased, prepared and their engines started before traffic moves, and traffic moves
before anything is drained. A flip is only a route step, as every engine can serve every phase. Doing the steps and
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
    """

    what: StepKind
    id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """A leased machine: which plan instance it was leased as, for which offer, and whether it can run engines."""

    lease_id: str
    instance_id: str
    offer_id: str
    prepared: bool = False


@dataclass(frozen=True, slots=True)
class RunningReplica:
    """An engine that exists: `serving` once it is ready, `draining` once traffic was taken off it."""

    id: str
    stages: tuple[Stage, ...]
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
    """What is left to do, in order. Engines whose GPUs are still taken by an unwanted one start after it stopped."""
    kept = kept_instances(wanted, running)
    wanted_ids = {replica.id for replica in wanted.replicas if _in_place(replica, running, kept)}
    unwanted = [replica for replica in running.replicas if replica.id not in wanted_ids]
    todo = [replica for replica in wanted.replicas if not _serves(replica, running, wanted_ids)]
    blockers = [old for old in unwanted if any(_collide(old, new) for new in todo)]
    others = [old for old in unwanted if old not in blockers]
    return (
        *_capacity(wanted, kept),
        *_retire(blockers),
        *(Step(StepKind.START, replica.id, _where(replica)) for replica in todo),
        *_reroute(wanted, running, wanted_ids, changed=bool(todo or unwanted)),
        *_retire(others),
        *_releases(running, kept.values()),
    )


def teardown(running: FleetState) -> tuple[Step, ...]:
    """Everything stopped, everything released; nothing is drained first."""
    stops = (Step(StepKind.STOP, replica.id) for replica in running.replicas)
    return (*stops, *_releases(running, ()))


def kept_instances(wanted: Plan, running: FleetState) -> dict[str, RunningInstance]:
    """Plan instance id → the lease that already is that instance: same id, same offer; the first where two are."""
    leases: dict[tuple[str, str], RunningInstance] = {}
    for lease in running.instances:
        leases.setdefault((lease.instance_id, lease.offer_id), lease)
    matched = {instance.id: leases.get((instance.id, instance.offer_id)) for instance in wanted.instances}
    return {name: lease for name, lease in matched.items() if lease is not None}


def _in_place(replica: Replica, running: FleetState, kept: Mapping[str, RunningInstance]) -> bool:
    """The engine of this replica already exists where the plan wants it."""
    shapes = {old.id: old.stages for old in running.replicas}
    return shapes.get(replica.id) == replica.stages and all(name in kept for name in replica.instances)


def _serves(replica: Replica, running: FleetState, in_place: set[str]) -> bool:
    return replica.id in in_place and any(
        old.id == replica.id and old.serving and not old.draining for old in running.replicas
    )


def _collide(old: RunningReplica, new: Replica) -> bool:
    """They need the same GPU or bear the same name, so the old one must be gone before the new one starts."""
    taken = {(stage.instance, gpu) for stage in old.stages for gpu in stage.gpus}
    needed = {(stage.instance, gpu) for stage in new.stages for gpu in stage.gpus}
    return old.id == new.id or bool(taken & needed)


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
    drains = [Step(StepKind.DRAIN, replica.id) for replica in old if replica.serving]
    return drains + [Step(StepKind.STOP, replica.id) for replica in old]


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
    return f"{gpus}, {instance.provider} {instance.region}, {kind}, {instance.usd_per_hour:.2f} $/h"


def _where(replica: Replica) -> str:
    return f"{replica.phase} TP{replica.tp} PP{replica.pp} on {', '.join(replica.instances)}"
