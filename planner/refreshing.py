"""Machines whose agents run other code than ours: prepared anew without leasing, one after the other, as steps.

Of one machine at a time requests are sent elsewhere, its replicas finish what they have and are stopped, the machine is
prepared, and they start again. Each waits for the one before it, so where one fails all others serve on as they were.
"""

from collections.abc import Collection

from planner.deployment import Plan
from planner.reconcile import FleetState, Step, StepKind, kept_instances

ANEW = "for this version's code"


def refresh(wanted: Plan, running: FleetState, resting: Collection[str] = ()) -> tuple[Step, ...]:
    """What follows the steps of `reconcile`, by which all that is wanted runs, but for the instances that rest.

    The routes between leave out one machine's replicas; the last ones are the plan's own.
    """
    leases = kept_instances(wanted, running)
    at_rest = {one.id for one in wanted.replicas if set(one.instances) & set(resting)}
    steps: list[Step] = []
    for name in outdated(wanted, running, resting):
        mine = tuple(one.id for one in wanted.replicas if name in one.instances)
        lease, out = leases[name].lease_id, (*mine, *sorted(at_rest - set(mine)))
        if mine:
            nobody = "nobody is answered, " * (len(out) == len(wanted.replicas))
            detail = f"{nobody}without {', '.join(out)}, {ANEW} on {name}"
            steps.append(Step(StepKind.ROUTE, "routes", detail, without=out))
        steps += [Step(StepKind.DRAIN, one, ANEW, lease, again=True) for one in mine]
        steps += [Step(StepKind.STOP, one, ANEW, lease, again=True) for one in mine]
        steps.append(Step(StepKind.PREPARE, name, ANEW, lease, again=True))
        steps += [Step(StepKind.START, one, ANEW, lease, again=True) for one in mine]
    if any(step.what is StepKind.ROUTE for step in steps):
        steps.append(Step(StepKind.ROUTE, "routes", f"{len(wanted.routes)} routes, all with this version's code"))
    return tuple(steps)


def outdated(wanted: Plan, running: FleetState, resting: Collection[str] = ()) -> tuple[str, ...]:
    """The plan's instances whose agents run other code."""
    kept = kept_instances(wanted, running)
    return tuple(name for name, lease in kept.items() if lease.outdated and name not in resting)
