"""Whether one plan can take over from another without an engine being touched: they differ in phases and routes, and in
which of the replicas have a part."""

from collections.abc import Collection

from planner.deployment import Plan, Replica

Place = tuple[str, str]
"""An instance and the offer that it is, as leases name them."""


def takes_over(wanted: Plan, routed: Plan, leased: Collection[Place]) -> bool:
    """Whether what is wanted is other phases or routes over machines that are there: those of the routed plan, or ones
    that are `leased` beside them. What both plans call by one name has to be one thing."""
    return _same_model(wanted, routed) and _same_machines(wanted, routed, leased) and _same_replicas(wanted, routed)


def _same_model(one: Plan, other: Plan) -> bool:
    return (one.llm, one.dtype, one.max_model_len) == (other.llm, other.dtype, other.max_model_len)


def _same_machines(wanted: Plan, routed: Plan, leased: Collection[Place]) -> bool:
    known = {one.id: one.offer_id for one in routed.instances}
    there = (known.get(one.id) == one.offer_id or (one.id, one.offer_id) in leased for one in wanted.instances)
    return all(there) and all(known.get(one.id, one.offer_id) == one.offer_id for one in wanted.instances)


def _same_replicas(wanted: Plan, routed: Plan) -> bool:
    known = {one.id: _layout(one) for one in routed.replicas}
    return all(known.get(one.id, _layout(one)) == _layout(one) for one in wanted.replicas)


def _layout(replica: Replica) -> tuple[object, ...]:
    """What its engine was started with: all but the phase, and what is figured out of that."""
    return replica.tp, replica.stages
