"""`thunder.status/v1`: the deployment as one document, which the TUI, `status --once` and `--json` all show."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from planner.deployment import Plan
from thunderctl.controller.report import ControllerReport, controller_entry
from thunderctl.fleet.resting import Resting, replicas_at_rest, resting_entries
from thunderctl.money.ending import Ending
from thunderctl.observing.links import measured_links
from thunderctl.observing.observe import Observation, phases_in_force
from thunderctl.status.predicted import predicted_entry
from thunderctl.status.status_entries import awaited_entries, instance_entry, link_entry, replica_entry, route_entries
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
    ending: Ending | None = None,
) -> dict[str, Any]:
    """Everything there is to see. Values that nobody has measured yet are null. `warnings` are of time and money."""
    now, links, at_rest = time.time(), measured_links(seen), _at_rest(deployment, plan)
    return {
        "schema": STATUS_SCHEMA,
        "at": now,
        "deployment": deployment.name,
        "state": _state(deployment, plan, seen),
        "plan_id": deployment.plan_id,
        "model": plan.llm.name if plan else "",
        "epoch": seen.routes.epoch if seen.routes else deployment.epoch,
        "endpoint": seen.endpoint or (deployment.endpoint if seen.unlinked else ""),
        "cost_usd_per_hour": round(sum(view.lease.usd_per_hour for view in seen.instances), 6),
        "spent_usd": round(spent_usd, 6),
        "budget_usd_per_hour": deployment.budget_usd_per_hour,
        "ending": ending.entry(now) if ending else {},
        "slo": _slo(plan),
        "instances": [instance_entry(view, plan) for view in seen.instances],
        "awaited": [one for one in awaited_entries(plan, seen) if one["id"] not in at_rest],
        "resting": resting_entries(Resting.from_json(deployment.resting), plan),
        "replicas": [replica_entry(replica_id, phase, plan, seen) for replica_id, phase in _phases(plan, seen).items()],
        "routes": route_entries(plan, seen, links),
        "links": [link_entry(link) for link in links],
        "observed": {key: seen.traffic.get(key) for key in OBSERVED_KEYS} | {"slo_attainment": _attainment(plan, seen)},
        "predicted": predicted_entry(plan, seen.routes),
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
    wanted = (
        {replica.id for replica in plan.replicas} - replicas_at_rest(plan, _at_rest(deployment, plan))
        if plan
        else set()
    )
    if seen.routes is None:
        return "starting" if deployment.state == "starting" else "degraded"
    return "serving" if wanted <= ready and not seen.unlinked else "degraded"


def _at_rest(deployment: Deployment, plan: Plan | None) -> frozenset[str]:
    """The plan's instances that rest."""
    return Resting.from_json(deployment.resting).of(plan) if plan else frozenset()


def _phases(plan: Plan | None, seen: Observation) -> Mapping[str, str]:
    planned = {replica.id: str(replica.phase) for replica in plan.replicas} if plan else {}
    return planned | {name: str(phase) for name, phase in phases_in_force(seen.routes).items()}


def _slo(plan: Plan | None) -> dict[str, float]:
    if plan is None:
        return {}
    return {"ttft_s": plan.slo.ttft_s, "tpot_s": plan.slo.tpot_s, "attainment": plan.slo.attainment}


def _attainment(plan: Plan | None, seen: Observation) -> float | None:
    """The share of the observed requests that met both targets; those that got no answer count as missed.

    Of the answers, the streamed ones: others have no first token that could be timed. One that is under way counts as
    missed once its first token is late. None before the first that counts.
    """
    if plan is None:
        return None
    timed, late = seen.traffic.get("latencies") or [], seen.traffic.get("ttft_so_far_s") or []
    missed = int(seen.traffic.get("failed", 0)) + sum(bool(one > plan.slo.ttft_s) for one in late)
    if not (timed or missed):
        return None
    met: list[bool] = [ttft <= plan.slo.ttft_s and (tpot is None or tpot <= plan.slo.tpot_s) for ttft, tpot in timed]
    return sum(met) / (len(met) + missed)


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
    if seen.unlinked and seen.instances:
        alerts.append("No link leads to the router on its own host, which goes on if it runs. Run `thunderctl up`.")
    if cost > deployment.budget_usd_per_hour + 1e-9:
        alerts.append(
            f"The fleet costs ${cost:.3f}/h, more than its budget of ${deployment.budget_usd_per_hour:.3f}/h."
        )
    return alerts


def _alerts(deployment: Deployment, plan: Plan | None, seen: Observation) -> list[str]:
    """What is wrong with the deployment as a whole."""
    alerts = []
    there = {view.lease.instance for view in seen.instances} | _at_rest(deployment, plan)
    missing = [instance.id for instance in (plan.instances if plan else ()) if instance.id not in there]
    if missing and seen.routes is not None:
        alerts.append(f"No machine for {', '.join(missing)}: it serves without. Run `thunderctl up` to try again.")
    if seen.instances and seen.routes is None:
        alerts.append("The router is not running: clients get no answer. Run `thunderctl up`.")
    if plan and deployment.state == "starting" and seen.routes is None:
        alerts.append("Bringing it up was not finished: `thunderctl up` resumes.")
    return alerts
