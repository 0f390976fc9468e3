"""What another plan changes about the one in force, in a few lines for people."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.deployment import Plan


def difference(current: "Plan", wanted: "Plan") -> Iterator[str]:
    """Cost and prediction, machines, and phases: of each what changes, and nothing of what stays."""
    yield (
        f"Plan {wanted.plan_id} (made {wanted.created_at}) takes over from {current.plan_id}: "
        f"${current.cost_usd_per_hour:.3f} → ${wanted.cost_usd_per_hour:.3f} an hour, predicted goodput "
        f"{current.predicted.goodput_rps:.2f} → {wanted.predicted.goodput_rps:.2f} requests/s."
    )
    if current.llm.name != wanted.llm.name:
        yield f"It serves {wanted.llm.name} instead of {current.llm.name}."
    before, after = _machines(current), _machines(wanted)
    for verb, names in (("rents", after.keys() - before.keys()), ("releases", before.keys() - after.keys())):
        if names:
            yield f"It {verb} {', '.join(sorted((before | after)[name] for name in names))}."
    phases = {replica.id: replica.phase for replica in current.replicas}
    flips = [
        f"{replica.id} {phases[replica.id]} → {replica.phase}"
        for replica in wanted.replicas
        if replica.id in phases and phases[replica.id] is not replica.phase
    ]
    if flips:
        yield f"Phases: {', '.join(flips)}."


def _machines(plan: "Plan") -> dict[tuple[str, str], str]:
    """By instance and offer, which is what tells whether one that runs is kept."""
    return {
        (one.id, one.offer_id): f"{one.id} ({one.gpu_count} x {one.gpu}, {one.provider}, {one.usd_per_hour:.3f} $/h)"
        for one in plan.instances
    }
