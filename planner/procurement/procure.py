"""Which offers to rent, and into which groups their GPUs go: the most for a budget, or the least cost for a rate."""

from typing import Any

import numpy as np

from planner.procurement.purchase import Formation, Groups, Ints, Purchase, Shop, Spans

MOST_INSTANCES = 48
"""Of a plan that is free to rent."""
GAP, MOST_S = 0.01, 5.0
"""HiGHS may stop this near its own bound, and must stop after this time; 150 offers take it a tenth of a second."""
SPARE_MONEY = 1e-3
"""What the whole budget weighs against the best rate: enough that nothing useless is rented."""


def procure(
    shop: Shop,
    prefill: Groups,
    decode: Groups,
    mixed: Groups,
    *,
    budget_usd_per_hour: float,
    demand_rps: float | None = None,
    rent_all: bool = False,
    least_rps: float = 0.0,
    seconds: float = MOST_S,
) -> Purchase | None:
    """The purchase that serves the most within the budget or, given a demand, serves it for the least; None if none.

    What is lost while interruptible copies are taken back counts against it in the first case, if there is a choice.
    None as well where less than `least_rps` is promised by the relaxation, which is known much sooner.
    """
    spans = Spans.none(len(shop.gpus))
    if least_rps:
        promised, _ = most_rps(
            shop, prefill, decode, mixed, spans, budget_usd_per_hour=budget_usd_per_hour, rent_all=rent_all, whole=False
        )
        if promised < least_rps:
            return None
    from planner.procurement.program import Program  # with cvxpy, which who only rebalances never needs

    program = Program(shop, prefill, decode, mixed, spans)
    limits = [
        *program.limits(budget_usd_per_hour, rent_all=rent_all),
        program.instances <= max(MOST_INSTANCES, int(shop.available.sum()) if rent_all else 0),
    ]
    if demand_rps is None:
        thrift = SPARE_MONEY * _best_rps(prefill, decode, mixed) / max(budget_usd_per_hour, 1e-9)
        goal = thrift * program.usd + (0.0 if rent_all else program.lost) - program.served
    else:
        thrift, goal = 0.0, program.usd
        limits.append(program.served >= demand_rps)
    least = program.solve(goal, limits, gap=GAP, seconds=seconds)
    if program.copies.value is None:
        return None
    return Purchase(
        copies=_rounded(program.copies),
        prefill=_rounded(program.prefill_groups)[: len(prefill.gpus)],
        decode=_rounded(program.decode_groups)[: len(decode.gpus)],
        mixed=_rounded(program.mixed_groups)[: len(mixed.gpus)],
        served_rps=float(program.served.value),
        usd_per_hour=float(program.usd.value),
        bound=abs(least) + thrift * budget_usd_per_hour,
    )


def most_rps(
    shop: Shop,
    prefill: Groups,
    decode: Groups,
    mixed: Groups,
    spans: Spans,
    *,
    budget_usd_per_hour: float,
    rent_all: bool = False,
    whole: bool = True,
    gap: float = GAP,
    seconds: float = MOST_S,
) -> tuple[float, Formation | None]:
    """A bound on what any purchase within the budget serves: the solver's own, however near it came to it.

    And the best purchase that it found, if any. Unless it has to be `whole`, it may hold parts of copies and groups.
    """
    from planner.procurement.program import BRANCHING, Program  # as above

    program = Program(shop, prefill, decode, mixed, spans, whole=whole)
    goal, limits = -program.served, program.limits(budget_usd_per_hour, rent_all=rent_all)
    if whole:
        bound = abs(program.solve(goal, limits, gap=gap, seconds=seconds, **BRANCHING))
    else:
        bound = abs(program.solve_in_parts(goal, limits))
    if program.copies.value is None:
        return bound, None
    formation = Formation(
        copies=_rounded(program.copies),
        prefill=_rounded(program.prefill_groups)[: len(prefill.gpus)],
        decode=_rounded(program.decode_groups)[: len(decode.gpus)],
        mixed=_rounded(program.mixed_groups)[: len(mixed.gpus)],
        spanning=np.asarray(program.spanning.groups.value)[: len(spans.network)],
    )
    return bound, formation


def _best_rps(prefill: Groups, decode: Groups, mixed: Groups) -> float:
    """What the best group serves alone or with one other: decode often does many times what any prefill feeds it."""
    most_prefill, most_decode, most_mixed = (float(one.rps.max(initial=0.0)) for one in (prefill, decode, mixed))
    return max(min(most_prefill, most_decode), most_mixed)


def _rounded(variable: Any) -> Ints:
    return np.asarray(np.rint(variable.value), dtype=np.int64)
