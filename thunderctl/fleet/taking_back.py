"""Taking back what was drained: the plan in force, and beside it what an earlier plan had on machines still rented.

`rebalance --without` makes a plan that lacks a replica, or all of a machine's, and touches no engine: so the replicas
come back by a plan that has them again.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from planner.deployment import Plan
from planner.rebalancing.flips import without
from thunderctl.fleet.same_engines import Place, takes_over


def with_back(current: Plan, earlier: Iterable[Plan], named: str, leased: Collection[Place]) -> tuple[Plan, list[str]]:
    """The plan in force with a replica, or with all of an instance's, and which these are: none where it has them, or
    where no earlier plan fits. `earlier` come newest first; `leased` are the machines that are ready."""
    known = {one.id for one in current.replicas}
    for plan in earlier:
        back = [one.id for one in plan.replicas if one.id not in known and named in (one.id, *one.instances)]
        wider = _narrowed(plan, known | set(back), {one.id for one in current.instances})
        whole = wider is not None and known | set(back) == {one.id for one in wider.replicas}
        if back and wider and whole and takes_over(wider, current, leased) and not _collide(wider):
            return _as_in_force(wider, current), back
    return current, []


def _narrowed(plan: Plan, replicas: Collection[str], instances: Collection[str]) -> Plan | None:
    """The plan with those replicas and the instances that they need, beside others that are kept; None: it has none."""
    others = [one.id for one in plan.replicas if one.id not in replicas]
    if len(others) == len(plan.replicas):
        return None
    left = without(plan, others)
    needed = {name for one in left.replicas for name in one.instances} | set(instances)
    return replace(left, instances=tuple(one for one in left.instances if one.id in needed))


def _collide(plan: Plan) -> bool:
    """Whether two of its replicas would be on one GPU: they were never up together."""
    used = [(stage.instance, gpu) for one in plan.replicas for stage in one.stages for gpu in stage.gpus]
    return len(used) != len(set(used))


def _as_in_force(wider: Plan, current: Plan) -> Plan:
    """What is in force keeps its phases."""
    phases = {one.id: one.phase for one in current.replicas}
    replicas = tuple(one.flipped(phases.get(one.id, one.phase)) for one in wider.replicas)
    return replace(wider, replicas=replicas, amends=current.amends)
