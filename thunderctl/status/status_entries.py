"""What the status document says of one machine, of one replica, of one route, and of the way between two machines."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from planner.deployment import Instance, Plan, Replica
from runtime.messages import EngineHealth
from thunderctl.observing.links import MeasuredLink
from thunderctl.observing.observe import InstanceView, Observation


def instance_entry(view: InstanceView, plan: Plan | None) -> dict[str, Any]:
    """One that is leased. Its cards are the plan's, where that knows the offer."""
    lease, health = view.lease, view.health
    place = (lease.instance, lease.offer_id)
    planned = next((one for one in (plan.instances if plan else ()) if (one.id, one.offer_id) == place), None)
    return {
        "id": lease.instance,
        "lease_id": lease.lease_id,
        "provider": lease.provider,
        "region": lease.region,
        "offer_id": lease.offer_id,
        "gpu": planned.gpu if planned else "",
        "gpu_count": planned.gpu_count if planned else None,
        "interruptible": planned.interruptible if planned else None,
        "state": str(lease.state),
        "reason": lease.reason,
        "usd_per_hour": lease.usd_per_hour,
        "created_at": lease.created_at,
        "expires_at": lease.expires_at,
        "address": view.machine.address if view.machine else "",
        "agent": view.agent.url if view.agent else "",
        "problem": view.problem,
        "kv_pool_used_share": health.pool_used_bytes / health.pool_bytes if health and health.pool_bytes else None,
        "kv": dict(health.kv) if health else {},
    }


def awaited_entries(plan: Plan | None, seen: Observation) -> list[dict[str, Any]]:
    """The plan's instances that no machine is leased for."""
    there = {view.lease.instance for view in seen.instances}
    return [_awaited(one) for one in (plan.instances if plan else ()) if one.id not in there]


def _awaited(one: Instance) -> dict[str, Any]:
    return {
        "id": one.id,
        "provider": one.provider,
        "region": one.region,
        "offer_id": one.offer_id,
        "gpu": one.gpu,
        "gpu_count": one.gpu_count,
        "usd_per_hour": one.usd_per_hour,
    }


def replica_entry(replica_id: str, phase: str, plan: Plan | None, seen: Observation) -> dict[str, Any]:
    """`max_requests` is how many it holds at a time, as the routes in force say; null where nobody said."""
    planned = next((one for one in (plan.replicas if plan else ()) if one.id == replica_id), None)
    on = list(planned.instances) if planned else []
    silent = any(view.lease.instance in on and view.health is None for view in seen.instances)
    engine = seen.engine(replica_id) or EngineHealth(replica_id, "unknown" if silent else "absent")
    routed = next((one for one in (seen.routes.replicas if seen.routes else ()) if one.id == replica_id), None)
    return {
        "id": replica_id,
        "phase": phase,
        "state": engine.state,
        "instances": on,
        "tp": planned.tp if planned else None,
        "pp": planned.pp if planned else None,
        "running": engine.running,
        "waiting": engine.waiting,
        "max_requests": (routed.max_requests or None) if routed else None,
        "kv_usage": engine.kv_usage,
        "pid": engine.pid,
        "started_at": engine.started_at,
        "detail": engine.detail,
    }


def route_entries(plan: Plan | None, seen: Observation, links: Sequence[MeasuredLink]) -> list[dict[str, Any]]:
    """The routes in force, each with what was measured of the ways it takes, and what was planned for them."""
    if seen.routes is None:
        return []
    replicas = {one.id: one for one in (plan.replicas if plan else ())}
    planned = {(one.prefill, one.decode): one.bandwidth_gbit_per_s for one in (plan.routes if plan else ())}
    measured = _by_way(links)
    return [
        {
            **entry,
            "planned_gbit_per_s": planned.get((entry["prefill"], entry["decode"])) or None,
            "measured_gbit_per_s": _measured(entry, replicas, measured),
        }
        for entry in seen.routes.to_json()["routes"]
    ]


def _by_way(links: Iterable[MeasuredLink]) -> dict[tuple[str, str], float]:
    """Bandwidth in Gbit/s by way, where it was measured of late; of two leases of one instance the slower one's."""
    found: dict[tuple[str, str], float] = {}
    for link in links:
        if link.recent and (gbit_per_s := link.health.bandwidth_gbit_per_s) is not None:
            way = link.source, link.target
            found[way] = min(gbit_per_s, found.get(way, gbit_per_s))
    return found


def _measured(
    route: Mapping[str, Any], replicas: Mapping[str, Replica], measured: Mapping[tuple[str, str], float]
) -> float | None:
    """The slowest of the measured ways between two replicas' machines; None where nothing crosses, or was measured."""
    ends = [replicas.get(route[end]) for end in ("prefill", "decode")]
    if ends[0] is None or ends[1] is None or route["prefill"] == route["decode"]:
        return None
    ways = product(ends[0].instances, ends[1].instances)
    return min((measured[way] for way in ways if way in measured), default=None)


def link_entry(link: MeasuredLink) -> dict[str, Any]:
    return {
        "from": link.source,
        "to": link.target,
        "bandwidth_gbit_per_s": link.health.bandwidth_gbit_per_s,
        "latency_ms": link.health.latency_ms,
        "age_s": link.health.age_s,
        "recent": link.recent,
    }
