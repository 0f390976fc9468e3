"""How a plan degrades: the same replicas, phases and routes, simulated with inputs that are worse than believed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from planner.catalog import GpuType, Link
from planner.choosing.candidate import Candidate, parts
from planner.choosing.goodput import goodput, sustained_at
from planner.deployment import Instance, Plan
from planner.gpus import gpu_of
from planner.links import Links
from planner.members import members_of
from planner.orchestration.pairing import Pairing
from planner.orchestration.strands import planned_hop
from planner.parallel.layouts import Task

SLOWER = 0.8
"""What a GPU keeps of its believed rates."""
NARROWER = 0.5
"""What the network keeps of its believed bandwidth."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Simulated, if something is otherwise: the goodput, and the attainment at the plan's own."""

    what: str
    goodput_rps: float
    slo_attainment: float


def what_ifs(plan: Plan, task: Task, *, links: Links, seed: int) -> tuple[WhatIf, ...]:
    """Bandwidth between instances halves, if KV or activations cross it; each GPU type in turn a fifth slower."""
    found = []
    if plan.spans or any(hop and hop.crossing for hop in as_candidate(plan, links).pairing.hops):
        halved = as_candidate(narrowed(plan), {ends: _narrowed(link) for ends, link in links.items()})
        found.append(_what_if("bandwidth between instances halves", plan, task, halved, seed))
    for name in sorted({instance.gpu for instance in plan.instances}):
        slow = as_candidate(plan, links, {name: slowed(gpu_of(name, plan.calibrations))})
        found.append(_what_if(f"{name} is {1 - SLOWER:.0%} slower than believed", plan, task, slow, seed))
    return tuple(found)


def as_candidate(plan: Plan, links: Links, gpus: Mapping[str, GpuType] | None = None) -> Candidate:
    """The plan as it would be simulated, at any rate; `gpus` stand in for the types of their names."""
    members = {member.replica.id: member for member in members_of(plan, links, gpus)}
    pairing = Pairing(
        replicas=plan.replicas,
        routes=plan.routes,
        hops=tuple(planned_hop(route, members[route.prefill], members[route.decode], links) for route in plan.routes),
        served_rps=plan.search.objective_rps,
        wire_rps=inf,
        transfer_usd_per_hour_per_rps=0.0,
        kv_gb_per_request=0.0,
    )
    return Candidate(plan.instances, tuple(members.values()), pairing)


def slowed(gpu: GpuType) -> GpuType:
    """Compute and memory alike; what the engine's host does is not."""
    return replace(
        gpu,
        fp16_tflops=gpu.fp16_tflops * SLOWER,
        fp8_tflops=gpu.fp8_tflops * SLOWER,
        memory_gb_per_s=gpu.memory_gb_per_s * SLOWER,
    )


def narrowed(plan: Plan) -> Plan:
    """Every instance's way in and out, and what routes between instances were promised."""
    return replace(
        plan,
        instances=tuple(_narrow_instance(instance) for instance in plan.instances),
        routes=tuple(replace(r, bandwidth_gbit_per_s=r.bandwidth_gbit_per_s * NARROWER) for r in plan.routes),
    )


def _what_if(what: str, plan: Plan, task: Task, changed: Candidate, seed: int) -> WhatIf:
    """Long runs at the plan's goodput; where these miss the target, what is left of it is searched for."""
    fleet, believed_rps = parts(task, changed), plan.predicted.goodput_rps
    found = sustained_at(believed_rps, task.demand, task.slo, fleet, seed=seed)
    kept_rps = believed_rps
    if found.least_attainment < task.slo.attainment:
        kept_rps = goodput(task.demand, task.slo, fleet, believed_rps, believed_rps, seed=seed)
    return WhatIf(what, kept_rps, found.measures.slo_attainment)


def _narrow_instance(instance: Instance) -> Instance:
    return replace(
        instance,
        inet_up_gbit_per_s=instance.inet_up_gbit_per_s * NARROWER,
        inet_down_gbit_per_s=instance.inet_down_gbit_per_s * NARROWER,
    )


def _narrowed(link: Link) -> Link:
    return replace(link, bandwidth_gbit_per_s=link.bandwidth_gbit_per_s * NARROWER)
