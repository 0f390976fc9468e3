"""Situations by hand, and what the controller's steps make of them in a world where everything works."""

from dataclasses import replace
from decimal import Decimal

from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.limits import Due, Limit
from tests.planner.plans import split_plan
from thunderctl.controller.situation import Condition, Routing, Situation, Vital
from thunderctl.controller.steps import Close, Drain, Keep, Rebalance, Release, Replace, Resize, Route, Stop
from thunderctl.fleet.resting import Rest, RestCause, Resting
from thunderctl.store.values import DeploymentState

NOW = 1_000_000.0
PLAN = split_plan()
"""r0 and r1 on i0, r2 across i1 and i2."""
REPLICAS = ("r0", "r1", "r2")
ALIVE = Condition(Vital.ALIVE)
LOST = Condition(Vital.LOST, "i0: the agent can't be reached")
UNSURE = Condition(Vital.UNSURE, "i0: no answer")


def row(instance, state=LeaseState.READY, **known):
    offer = PLAN.instance(instance).offer_id
    made = LeaseRow(
        f"l-{instance}", "me", "d", PLAN.plan_id, instance, "vast", "Earth", offer, f"label-{instance}", 1.0, state, NOW
    )
    asked = {"attempts": 1} if state is LeaseState.DELETING else {}
    return replace(made, sent_at=NOW, provider_id=f"m-{instance}", **{**asked, **known})


def situation(*rows, **known):
    """Three machines that are ready, all replicas alive and in the routes, but for what a test says."""
    values = {
        "at": NOW,
        "state": DeploymentState.SERVING,
        "plan_id": PLAN.plan_id,
        "rows": rows or tuple(row(name) for name in ("i0", "i1", "i2")),
        "routing": Routing(PLAN, frozenset(REPLICAS)),
        "conditions": dict.fromkeys(REPLICAS, ALIVE),
        "usd_per_hour": Decimal(3),
        "budget_usd_per_hour": 5.0,
        **known,
    }
    return Situation(**values)


def resting(*instances, **woken):
    """These rest for a smaller budget."""
    offers = {one.id: one.offer_id for one in PLAN.instances}
    rests = {name: Rest(offers[name], RestCause.WINDOW, "a smaller budget", NOW) for name in instances}
    return Resting(rests, woken, NOW)


def limit(due, *instances):
    return Limit(due, tuple(f"l-{name}" for name in instances), NOW + 60, f"The lease of {instances[0]} ends.")


def at_end(*instances):
    return (limit(Due.DRAIN, *instances),)


def done(now, step):
    """What the step leaves where it succeeds, and requests end."""
    match step:
        case Drain(lease_id, reason, cause):
            rows = tuple(
                replace(r.moved(LeaseState.DRAINING, reason=reason), drained_for=cause)
                if r.lease_id == lease_id and r.state.runs
                else r
                for r in now.rows
            )
            return replace(now, rows=rows)
        case Keep(lease_id):
            rows = tuple(r.moved(LeaseState.READY) if r.lease_id == lease_id else r for r in now.rows)
            return replace(now, rows=rows)
        case Resize(resting):
            there = {r.instance for r in now.rows} | resting.of(PLAN)
            gone = tuple(row(one.id, LeaseState.GONE) for one in PLAN.instances if one.id not in there)
            return replace(now, resting=resting, lost=gone)
        case Route(replicas):
            routing = replace(now.routing, replicas=replicas, running=True, admits=True, in_flight={}, behind=False)
            return replace(now, routing=routing, moved=now.moved - replicas)
        case Close():
            return replace(now, routing=replace(now.routing, admits=False))
        case Stop():
            return replace(now, routing=replace(now.routing, running=False, admits=True, in_flight={}))
        case Rebalance():
            return replace(now, proposal=None)
        case Replace(instances):
            taken = tuple(row(name, LeaseState.READY) for name in instances)
            lost = tuple(r for r in now.lost if r.instance not in instances)
            return replace(now, rows=(*now.rows, *taken), lost=lost, replaced=())
        case Release(lease_id, reason):
            rows = tuple(
                r.moved(LeaseState.DELETING, reason=reason) if r.lease_id == lease_id and r.state.runs else r
                for r in now.rows
            )
            taken = tuple(replace(r, attempts=1) if r.lease_id == lease_id else r for r in rows)
            gone = {one for r in now.rows if r.lease_id == lease_id for one in now.replicas_on(r)}
            lost = {**now.conditions, **dict.fromkeys(gone, LOST)}
            return replace(now, rows=taken, listed=now.listed - {lease_id}, conditions=lost)
