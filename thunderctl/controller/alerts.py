"""What somebody should know about a situation. Pure; the figures in the texts change, the keys don't."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from provisioners.leases.budget import ROUNDING_USD
from provisioners.leases.journal import LeaseState
from thunderctl.controller.decide import leaving_of
from thunderctl.controller.replacements import ended_early, why_not_as_a_whole
from thunderctl.controller.situation import Alert, Situation, Vital
from thunderctl.fleet.resting import RestCause
from thunderctl.store.values import DeploymentState

CUT_OFF_S = 10.0
"""A deployment is being taken down, and nobody has held its lock for so long."""
DEATH_S = 3600.0
"""How long the death of a router, which mended itself, is named."""


def alerts_of(now: Situation) -> tuple[Alert, ...]:
    """Limits that come near first, then what is wrong."""
    return (
        *_limits(now),
        *_left_behind(now),
        *_unread(now),
        *_budget(now),
        *_resting(now),
        *_listings(now),
        *_going(now),
        *_unused(now),
        *_notices(now),
        *_unsent(now),
        *_router(now),
        *_router_deaths(now),
        *_replicas(now),
        *_all_gone(now),
    )


def _limits(now: Situation) -> Iterator[Alert]:
    for limit in now.limits:
        then = "" if limit.due == "warn" else " Its machines are being drained and released."
        yield Alert(f"limit {limit.due} {' '.join(limit.lease_ids)}", f"{limit.reason}{then}")


def _left_behind(now: Situation) -> Iterator[Alert]:
    """What a `down` that did not come to its end left; while one is at work, that is what it is there for."""
    if now.state is DeploymentState.STOPPING and now.rows and now.at - now.worked_on_at >= CUT_OFF_S:
        names = ", ".join(sorted({row.instance or row.lease_id for row in now.rows}))
        yield Alert(
            "stopping",
            f"`thunderctl down` did not come to its end: {names} cost ${now.usd_per_hour:.3f}/h until they are gone. "
            "They are being released; run it again to wait for that, or `thunderctl up` to keep what still serves.",
        )


def _unread(now: Situation) -> Iterator[Alert]:
    if now.unread:
        yield Alert(
            f"unread {' '.join(now.unread)}",
            f"The stored spec was written by another version: {', '.join(now.unread)} can't be read, and the defaults "
            "hold. `thunderctl up` with a spec of this version mends it.",
        )


def _budget(now: Situation) -> Iterator[Alert]:
    if float(now.usd_per_hour) > now.budget_usd_per_hour + ROUNDING_USD:
        yield Alert(
            "budget",
            f"The fleet costs ${now.usd_per_hour:.3f}/h, more than its budget of ${now.budget_usd_per_hour:.3f}/h: "
            "nothing more is leased.",
        )


def _resting(now: Situation) -> Iterator[Alert]:
    """What prices made of the fleet. That it is smaller by the clock, or for want of requests, is no news."""
    for name, rest in now.resting.instances.items():
        if rest.cause in (RestCause.PRICE, RestCause.SWAP):
            yield Alert(f"rest {name} {rest.cause}", f"{name} is let go: {rest.reason}.")


def _listings(now: Situation) -> Iterator[Alert]:
    for provider, why in now.distrust.items():
        yield Alert(
            f"listing {provider}",
            f"What {provider} has is not known ({why}): nothing is taken for gone, and nothing is leased there.",
        )


def _going(now: Situation) -> Iterator[Alert]:
    """Machines that still cost though they are to go. Under a `down` that is what is wanted; `stopping` names those
    of one that did not come to its end."""
    if now.state is DeploymentState.STOPPING:
        return
    for row in now.rows:
        if row.state in (LeaseState.DRAINING, LeaseState.DELETING):
            yield Alert(
                f"{row.state} {row.lease_id}",
                f"{row.instance} ({row.provider} {row.provider_id}, ${row.usd_per_hour:.3f}/h) is {row.state}"
                f"{f': {row.reason.rstrip(chr(46))}' if row.reason else ''}.",
            )


def _unused(now: Situation) -> Iterator[Alert]:
    """Machines that cost though no replica of the plan is on them any more: somebody drained them, and nobody came
    back to it. While an `up` is on its way to another plan it is for that to say what becomes of them."""
    routing = now.routing
    if routing is None or now.state is not DeploymentState.SERVING or routing.plan.plan_id != now.plan_id:
        return
    used = {name for replica in routing.plan.replicas for name in replica.instances}
    planned = {one.id for one in routing.plan.instances}
    for row in now.rows:
        if row.state is not LeaseState.READY or row.instance in used:
            continue
        ends = (
            "an `up` with a plan that lacks it, or `thunderctl down`," if row.instance in planned else "`thunderctl up`"
        )
        yield Alert(
            f"unused {row.lease_id}",
            f"{row.instance} ({row.provider} {row.provider_id}, ${row.usd_per_hour:.3f}/h) is leased and serves "
            "nothing: the plan in force has no replica on it. "
            f"`thunderctl undrain {row.instance}` gives it requests again, {ends} releases it.",
        )


def _notices(now: Situation) -> Iterator[Alert]:
    for row in now.rows:
        if row.lease_id in now.notices:
            text = now.notices[row.lease_id]
            yield Alert(f"notice {row.lease_id} {text}", f"{row.instance} ({row.provider} {row.provider_id}): {text}.")


def _unsent(now: Situation) -> Iterator[Alert]:
    """Machines whose agent will be heard no more when its certificate ends."""
    for row in now.rows:
        if row.lease_id in now.unsent:
            since = datetime.fromtimestamp(now.unsent[row.lease_id], UTC)
            yield Alert(
                f"unsent {row.lease_id}",
                f"The certificate of {row.instance} ({row.provider} {row.provider_id}) was renewed on {since:%Y-%m-%d} "
                "and can't be put on its machine; the one there ends within a month of that day, and then nobody can "
                "speak to its agent. It is tried every hour; `thunderctl logs controller` says what fails, and "
                f"`thunderctl ssh {row.instance}` whether the machine can be reached.",
            )


def _router(now: Situation) -> Iterator[Alert]:
    if now.routing is None or not now.routing.running or now.routing.in_flight is not None:
        return
    if not now.routing.admits:
        yield Alert(
            "router unlinked",
            "No link leads to the router on its own host: should it still run, it goes on with the routes it has. "
            "The way there is made again. See: thunderctl logs router",
        )
    else:
        yield Alert(
            "router",
            "The router runs and does not answer the controller: it goes on with the routes it has, and is asked "
            "again. See: thunderctl logs router",
        )


def _router_deaths(now: Situation) -> Iterator[Alert]:
    deaths, serves_since = now.routing.deaths if now.routing is not None else (0, 0.0)
    if deaths and now.at - serves_since < DEATH_S:
        at = datetime.fromtimestamp(serves_since, UTC)
        yield Alert(
            f"router died {deaths}",
            f"The router died and another one serves on its port since {at:%H:%M:%S} UTC; requests that were under way "
            f"ended with it. That was death {deaths} since it was started: is memory short? See: thunderctl logs "
            "router",
        )


def _all_gone(now: Situation) -> Iterator[Alert]:
    """No machine is left, and their time was not over: are they leased anew?"""
    lost = ended_early(now)
    if now.state is not DeploymentState.SERVING or not lost or any(row.state.may_cost for row in now.rows):
        return
    names, then = ", ".join(row.instance for row in lost), "Others are leased in their place."
    if why := "[controller] replace_lost is false" if not now.replaces else why_not_as_a_whole(now):
        then = f"None is leased by itself, as {why}: `thunderctl up` leases them again, `thunderctl down` ends it."
    yield Alert("all gone", f"No machine is left: {names}. {then}")


def _replicas(now: Situation) -> Iterator[Alert]:
    """Those that can't serve though nobody wanted them to go, one alert a cause."""
    if now.state is DeploymentState.STOPPING:
        return
    leaving = leaving_of(now)
    gone = {one for row in now.rows if row.lease_id in leaving.reasons for one in now.replicas_on(row)}
    gone |= now.replicas_at_rest
    lost = defaultdict(list)
    for replica, condition in now.conditions.items():
        if condition.vital is Vital.LOST and replica not in gone:
            lost[condition.reason].append(replica)
    for reason, replicas in lost.items():
        names = ", ".join(sorted(replicas))
        yield Alert(f"lost {names}", f"{names} can't serve: {reason.rstrip('.')}. `thunderctl up` mends what it can.")
    if now.conditions and all(one.vital is Vital.LOST for one in now.conditions.values()) and not leaving.reasons:
        yield Alert("nobody", "No replica answers the controller; the routes stay as they are.")
