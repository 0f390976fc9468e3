"""What takes the place of a machine that could not be had: which offers would, and the plan with one of them.

A substitute serves the same replicas with nothing worked out anew: as many GPUs of the same type with no less memory,
the private network where the plan relies on it, ways in and out that carry the KV which the plan moves, all within the
budget. The cheapest comes first, what its KV costs to move included.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from planner.catalog import Offer
from planner.costmodel.transfer import wire_ratio
from planner.deployment import Codec, Instance, Plan, Replica, Route
from planner.document import plan_id
from planner.links import USABLE, link_between, private_network, transfer_usd_per_gb
from planner.orchestration.strands import Strand, link_along, shares
from planner.procurement.placing import instance_of
from planner.requirements import refusal_of
from planner.validate import MONEY_TOLERANCE, validate

GBIT_PER_GB = 8.0


@dataclass(frozen=True, slots=True)
class KvFlow:
    """KV that a plan moves from one instance to another, at the load it was made for."""

    source: str
    target: str
    gb_per_hour: float


class Tried(Protocol):
    """What could not be had or was of no use: an instance of a plan, or what is remembered of one."""

    @property
    def provider(self) -> str: ...
    @property
    def offer_id(self) -> str: ...
    @property
    def machine(self) -> str: ...


def was_tried(offer: Offer, tried: Iterable[Tried]) -> bool:
    """Whether it is one of these offers, or of one of these machines, which are sold under several names."""
    return any(
        offer.offer_id == one.offer_id
        or (one.machine and (offer.provider, offer.machine) == (one.provider, one.machine))
        for one in tried
    )


def substitutes(
    plan: Plan,
    instance_id: str,
    offers: Iterable[Offer],
    *,
    tried: Collection[Tried] = (),
    promised: Mapping[str, int] | None = None,
    flows: Sequence[KvFlow] | None = None,
) -> tuple[Offer, ...]:
    """The offers that can take an instance's place, the cheapest for the whole plan first.

    `tried` is what could not be had: neither those offers nor those machines come again; nor does an offer of which
    there is one copy, and another instance of the plan is that, nor a machine that another instance is on. `promised`
    is how many of several copies others are about to lease. `flows` are the plan's, for who asks of many instances.
    """
    wanted, taken = plan.instance(instance_id), promised or {}
    flows = kv_flows(plan) if flows is None else flows
    others = [one for one in plan.instances if one.id != instance_id]
    held, machines = {one.offer_id for one in others}, {(one.provider, one.machine) for one in others if one.machine}
    relies = _relies_on_network(plan, wanted, flows)
    found: list[tuple[float, str, Offer]] = []
    for offer in offers:
        if was_tried(offer, tried) or (offer.provider, offer.machine) in machines:
            continue
        if offer.available == 1 and offer.offer_id in held:
            continue
        if offer.available <= taken.get(offer.offer_id, 0) or refusal_of(plan.llm, offer) is not None:
            continue
        if not _does_the_same(wanted, offer, flows) or (relies and private_network(offer) != private_network(wanted)):
            continue
        usd_per_hour = _plan_usd_per_hour(plan, instance_of(offer, instance_id, plan.llm), flows)
        if usd_per_hour <= plan.budget_usd_per_hour * (1 + MONEY_TOLERANCE):
            found.append((usd_per_hour, offer.offer_id, offer))
    return tuple(offer for *_, offer in sorted(found, key=lambda one: one[:2]))


def substituted(plan: Plan, instance_id: str, offer: Offer, why: str) -> Plan:
    """The plan with the offer in an instance's place, which has `why` among its notes. Raises SpecError if not legal.

    What was predicted stands: only prices change, and the bandwidth that routes have. Of more memory than the plan
    counted on no use is made, so that engines stay as they are.
    """
    before, flows = plan.instance(instance_id), kv_flows(plan)
    there = instance_of(offer, instance_id, plan.llm)
    taken = replace(there, gpu_memory_gib=before.gpu_memory_gib, router_ms=before.router_ms)
    instances = tuple(taken if one.id == instance_id else one for one in plan.instances)
    more = _moving_usd_per_hour(plan, taken, flows) - _moving_usd_per_hour(plan, before, flows)
    transfer = max(0.0, plan.transfer_usd_per_hour + more)
    cost = sum(one.usd_per_hour for one in instances) + transfer
    dearer = cost / plan.cost_usd_per_hour if plan.cost_usd_per_hour else 1.0
    predicted = replace(plan.predicted, usd_per_million_tokens=plan.predicted.usd_per_million_tokens * dearer)
    changed = replace(
        plan,
        amends=plan.plan_id,
        instances=instances,
        cost_usd_per_hour=cost,
        transfer_usd_per_hour=transfer,
        predicted=predicted,
        notes=(*plan.notes, why),
    )
    routed = replace(changed, routes=tuple(_as_wide_as_now(changed, route, instance_id) for route in plan.routes))
    named = replace(routed, plan_id=plan_id(routed))
    validate(named)
    return named


def kv_flows(plan: Plan) -> tuple[KvFlow, ...]:
    """What the network carries between instances: each route's share of the plan's KV, by the layers that they hold."""
    parts = [
        (source.id, target.id, route.share * share / wire_ratio(plan.llm, route.codec))
        for route in plan.routes
        if route.codec is not Codec.LOCAL and route.share > 0
        for source, target, share in _held_shares(plan, route)
        if source.id != target.id
    ]
    whole = sum(part for *_, part in parts)
    return tuple(KvFlow(a, b, plan.predicted.kv_gb_per_hour * part / whole) for a, b, part in parts)


def _does_the_same(wanted: Instance, offer: Offer, flows: Sequence[KvFlow]) -> bool:
    return (
        offer.leasable
        and (offer.gpu.name, offer.gpu_count) == (wanted.gpu, wanted.gpu_count)
        and offer.memory_gib >= wanted.gpu_memory_gib
        and (offer.nvlink or not wanted.nvlink or wanted.gpu_count == 1)
        and (wanted.interruptible or not offer.interruptible)
        and _is_wide_enough(wanted, offer, flows)
    )


def _relies_on_network(plan: Plan, wanted: Instance, flows: Sequence[KvFlow]) -> bool:
    """A replica spans it and others, or KV moves between it and others, over a private network."""
    if not wanted.network:
        return False
    met = {name for replica in plan.replicas if wanted.id in replica.instances for name in replica.instances}
    met |= {end for flow in flows if wanted.id in (flow.source, flow.target) for end in (flow.source, flow.target)}
    return any(private_network(plan.instance(name)) == private_network(wanted) for name in met - {wanted.id})


def _is_wide_enough(wanted: Instance, offer: Offer, flows: Sequence[KvFlow]) -> bool:
    """Its ways out and in carry what the plan moves there, or are as wide as those that the plan counted on."""
    out = sum(flow.gb_per_hour for flow in flows if flow.source == wanted.id) * GBIT_PER_GB / 3600 / USABLE
    into = sum(flow.gb_per_hour for flow in flows if flow.target == wanted.id) * GBIT_PER_GB / 3600 / USABLE
    return offer.inet_up_gbit_per_s >= min(out, wanted.inet_up_gbit_per_s) and (
        offer.inet_down_gbit_per_s >= min(into, wanted.inet_down_gbit_per_s)
    )


def _plan_usd_per_hour(plan: Plan, taken: Instance, flows: Sequence[KvFlow]) -> float:
    """What the plan would cost with this in its place."""
    before = plan.instance(taken.id)
    more = _moving_usd_per_hour(plan, taken, flows) - _moving_usd_per_hour(plan, before, flows)
    return plan.cost_usd_per_hour - before.usd_per_hour + taken.usd_per_hour + more


def _moving_usd_per_hour(plan: Plan, taken: Instance, flows: Sequence[KvFlow]) -> float:
    """What it costs to move KV from and to an instance if it were `taken`."""
    places = {one.id: one for one in plan.instances} | {taken.id: taken}
    return sum(
        flow.gb_per_hour * transfer_usd_per_gb(places[flow.source], places[flow.target])
        for flow in flows
        if taken.id in (flow.source, flow.target)
    )


def _as_wide_as_now(plan: Plan, route: Route, instance_id: str) -> Route:
    """The route with the bandwidth that there is between its ends, where one of them is on the instance."""
    ends = {*plan.replica(route.prefill).instances, *plan.replica(route.decode).instances}
    if route.codec is Codec.LOCAL or instance_id not in ends:
        return route
    found = [Strand(a, b, share, link_between(a, b, {})) for a, b, share in _held_shares(plan, route)]
    return replace(route, bandwidth_gbit_per_s=link_along(found, {}).bandwidth_gbit_per_s)


def _held_shares(plan: Plan, route: Route) -> Iterator[tuple[Instance, Instance, float]]:
    yield from shares(_held(plan, plan.replica(route.prefill)), _held(plan, plan.replica(route.decode)))


def _held(plan: Plan, replica: Replica) -> list[tuple[Instance, int]]:
    """The instance of each stage, and how many layers it holds."""
    return [(plan.instance(stage.instance), stage.layers) for stage in replica.stages]
