"""Why phases change, in sentences: which replicas flip, how busy each phase was, and what that does to attainment."""

from collections.abc import Iterator, Sequence

from planner.deployment import Phase, Plan, Replica


def why(
    before: Plan | None,
    after: Plan,
    phases_before: dict[str, Phase],
    lost: Sequence[str] = (),
    *,
    overruled: bool = False,
) -> Iterator[str]:
    """`before` is what was in force, under the workload and at the rate of `after`; None where it serves nothing.

    `overruled` are decisions that simulation did not confirm.
    """
    if lost:
        yield f"Left out: {', '.join(lost)}."
    flips = _flips(after.replicas, phases_before)
    if not flips:
        stays = ": other phases score more, but serve less in simulation" if overruled else ""
        yield f"No replica flips{stays}{_outcome(before, after)}."
        return
    for (was, becomes), names in flips.items():
        told = _outcome(before, after) if len(flips) == 1 else ""
        yield f"{_listed(names)} {was} → {becomes}: {_reason(before, was, becomes)}{told}."
    if len(flips) > 1:
        yield f"Together{_outcome(before, after).replace(';', ':', 1)}."


def busy_share(plan: Plan, phase: Phase) -> float | None:
    """What its rate asks of the replicas of a phase, by what they can; None where it has none that can serve."""
    capacity = {replica.id: replica.capacity_rps for replica in plan.replicas if replica.phase is phase}
    total = sum(capacity.values())
    if total <= 0:
        return None
    ends = [(route.prefill if phase is Phase.PREFILL else route.decode, route.share) for route in plan.routes]
    return sum(share for end, share in ends if end in capacity) * plan.workload.rate_rps / total


def _flips(replicas: Sequence[Replica], before: dict[str, Phase]) -> dict[tuple[Phase, Phase], list[str]]:
    """Replica ids by the flip they make."""
    found: dict[tuple[Phase, Phase], list[str]] = {}
    for replica in replicas:
        if before[replica.id] is not replica.phase:
            found.setdefault((before[replica.id], replica.phase), []).append(replica.id)
    return found


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _reason(before: Plan | None, was: Phase, becomes: Phase) -> str:
    if before is None:
        return "as they were, the replicas serve nothing"
    now, then = busy_share(before, becomes), busy_share(before, was)
    wanted = f"nothing did {becomes}" if now is None else f"{becomes} was {now:.0%} busy"
    return wanted if then is None else f"{wanted}, {was} {then:.0%}"


def _outcome(before: Plan | None, after: Plan) -> str:
    rate, then = after.workload.rate_rps, after.predicted
    if before is None or before.predicted == then:
        return f"; attainment {then.slo_attainment:.0%} at {rate:.3g} requests/s (simulated)"
    now = before.predicted
    return (
        f"; attainment {now.slo_attainment:.0%} → {then.slo_attainment:.0%} at {rate:.3g} requests/s, goodput "
        f"{now.goodput_rps:.3g} → {then.goodput_rps:.3g} requests/s (simulated)"
    )
