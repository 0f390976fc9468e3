"""`thunder.status/v1`: the deployment as one document, which the TUI, `status --once` and `--json` all show."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from planner.deployment import Plan
from runtime.messages import EngineHealth
from thunderctl.controller.report import ControllerReport, controller_entry
from thunderctl.links import MeasuredLink, measured_links
from thunderctl.observe import InstanceView, Observation, phases_in_force
from thunderctl.store.values import Deployment

STATUS_SCHEMA = "thunder.status/v1"
OBSERVED_KEYS = (
    "rate_rps",
    "prompt_tokens_mean",
    "output_tokens_mean",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p99_s",
)


def status_document(
    deployment: Deployment,
    plan: Plan | None,
    seen: Observation,
    spent_usd: float,
    warnings: Sequence[str] = (),
    controller: ControllerReport | None = None,
) -> dict[str, Any]:
    """Everything there is to see. Values that nobody has measured yet are null. `warnings` are of time and money."""
    return {
        "schema": STATUS_SCHEMA,
        "deployment": deployment.name,
        "state": _state(deployment, plan, seen),
        "plan_id": deployment.plan_id,
        "model": plan.llm.name if plan else "",
        "epoch": seen.routes.epoch if seen.routes else deployment.epoch,
        "endpoint": seen.endpoint,
        "cost_usd_per_hour": round(sum(view.lease.usd_per_hour for view in seen.instances), 6),
        "spent_usd": round(spent_usd, 6),
        "budget_usd_per_hour": deployment.budget_usd_per_hour,
        "instances": [_instance(view) for view in seen.instances],
        "replicas": [_replica(replica_id, phase, plan, seen) for replica_id, phase in _phases(plan, seen).items()],
        "routes": seen.routes.to_json()["routes"] if seen.routes else [],
        "links": [_link(link) for link in measured_links(seen)],
        "observed": {key: seen.traffic.get(key) for key in OBSERVED_KEYS} | {"slo_attainment": _attainment(plan, seen)},
        "predicted": _predicted(plan),
        "controller": controller_entry(controller),
        "alerts": [*_alerts(deployment, plan, seen), *_watched(deployment, seen, warnings, controller)],
    }


def _state(deployment: Deployment, plan: Plan | None, seen: Observation) -> str:
    """What is seen decides; the stored state only says where it was heading."""
    if deployment.state == "stopping":
        return "stopping"
    if not seen.instances:
        return "absent"
    ready = {engine.replica for view in seen.instances for engine in view.engines if engine.state == "ready"}
    wanted = {replica.id for replica in plan.replicas} if plan else set()
    if seen.routes is None:
        return "starting" if deployment.state == "starting" else "degraded"
    return "serving" if wanted <= ready else "degraded"


def _phases(plan: Plan | None, seen: Observation) -> Mapping[str, str]:
    planned = {replica.id: str(replica.phase) for replica in plan.replicas} if plan else {}
    return planned | {name: str(phase) for name, phase in phases_in_force(seen.routes).items()}


def _instance(view: InstanceView) -> dict[str, Any]:
    lease, health = view.lease, view.health
    return {
        "id": lease.instance,
        "lease_id": lease.lease_id,
        "provider": lease.provider,
        "region": lease.region,
        "offer_id": lease.offer_id,
        "state": str(lease.state),
        "usd_per_hour": lease.usd_per_hour,
        "address": view.machine.address if view.machine else "",
        "agent": view.agent.url if view.agent else "",
        "problem": view.problem,
        "kv_pool_used_share": health.pool_used_bytes / health.pool_bytes if health and health.pool_bytes else None,
        "kv": dict(health.kv) if health else {},
    }


def _replica(replica_id: str, phase: str, plan: Plan | None, seen: Observation) -> dict[str, Any]:
    planned = [replica for replica in (plan.replicas if plan else ()) if replica.id == replica_id]
    on = list(planned[0].instances) if planned else []
    silent = any(view.lease.instance in on and view.health is None for view in seen.instances)
    engine = seen.engine(replica_id) or EngineHealth(replica_id, "unknown" if silent else "absent")
    return {
        "id": replica_id,
        "phase": phase,
        "state": engine.state,
        "instances": on,
        "running": engine.running,
        "waiting": engine.waiting,
        "kv_usage": engine.kv_usage,
        "pid": engine.pid,
        "started_at": engine.started_at,
        "detail": engine.detail,
    }


def _link(link: MeasuredLink) -> dict[str, Any]:
    return {
        "from": link.source,
        "to": link.target,
        "bandwidth_gbit_per_s": link.health.bandwidth_gbit_per_s,
        "latency_ms": link.health.latency_ms,
        "age_s": link.health.age_s,
        "recent": link.recent,
    }


def _attainment(plan: Plan | None, seen: Observation) -> float | None:
    """The share of the observed requests that met both targets; those that got no answer count as missed.

    Of the answers, the streamed ones: others have no first token that could be timed. None before the first.
    """
    timed, failed = seen.traffic.get("latencies") or [], int(seen.traffic.get("failed", 0))
    if plan is None or not (timed or failed):
        return None
    met: list[bool] = [ttft <= plan.slo.ttft_s and (tpot is None or tpot <= plan.slo.tpot_s) for ttft, tpot in timed]
    return sum(met) / (len(met) + failed)


def _predicted(plan: Plan | None) -> dict[str, Any]:
    if plan is None:
        return {}
    found = plan.predicted
    return {
        "goodput_rps": found.goodput_rps,
        "slo_attainment": found.slo_attainment,
        "ttft_p50_s": found.ttft_p50_s,
        "ttft_p99_s": found.ttft_p99_s,
        "tpot_p50_s": found.tpot_p50_s,
        "tpot_p99_s": found.tpot_p99_s,
        "calibrated": found.calibrated,
    }


def _watched(
    deployment: Deployment, seen: Observation, warnings: Sequence[str], controller: ControllerReport | None
) -> list[str]:
    """What the controller says, who has looked for longer; where there are no routes yet or it says nothing, what is
    seen now."""
    if controller is None or controller.is_late(time.time()):
        said = "runs" if controller is None else f"has ticked for a while (process {controller.pid} hangs)"
        nobody = f"No controller {said}: nobody renews contact with the machines. Run `thunderctl up`."
        return [*_seen_now(deployment, seen), *warnings, *([nobody] if seen.instances else [])]
    return [*controller.alerts, *(_seen_now(deployment, seen) if seen.routes is None else [])]


def _seen_now(deployment: Deployment, seen: Observation) -> list[str]:
    cost = sum(view.lease.usd_per_hour for view in seen.instances)
    alerts = [f"The listing of {name} was not complete: what is shown may be stale." for name in seen.unlisted]
    alerts += [
        f"Instance {view.lease.instance}: {view.problem.rstrip('.')}." for view in seen.instances if view.problem
    ]
    for view in seen.instances:
        alerts += [
            f"Replica {engine.replica} failed: {engine.detail.splitlines()[0] if engine.detail else 'it says nothing'}"
            for engine in view.engines
            if engine.state == "failed"
        ]
    if cost > deployment.budget_usd_per_hour + 1e-9:
        alerts.append(
            f"The fleet costs ${cost:.3f}/h, more than its budget of ${deployment.budget_usd_per_hour:.3f}/h."
        )
    return alerts


def _alerts(deployment: Deployment, plan: Plan | None, seen: Observation) -> list[str]:
    """What is wrong with the deployment as a whole."""
    alerts = []
    there = {view.lease.instance for view in seen.instances}
    missing = [instance.id for instance in (plan.instances if plan else ()) if instance.id not in there]
    if missing and seen.routes is not None:
        alerts.append(f"No machine for {', '.join(missing)}: it serves without. Run `thunderctl up` to try again.")
    if seen.instances and seen.routes is None:
        alerts.append("The router is not running: clients get no answer. Run `thunderctl up`.")
    if plan and deployment.state == "starting" and seen.routes is None:
        alerts.append("Bringing it up was not finished: `thunderctl up` resumes.")
    return alerts
