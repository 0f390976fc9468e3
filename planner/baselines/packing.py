"""The most that disjoint pipelines carry together: a mixed-integer program over the pipelines that could be formed.

The flow through pipelines that share no GPU is the sum of what each carries, so the largest flow is a set packing:

    max  sum_r rps_r x_r      s.t.  sum_r blocks_ri x_r <= blocks in the copies of offer i that are cut to the size of r
                                    copies <= those on offer, GPUs of a machine, the budget
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import highspy

from planner.catalog import Offer
from planner.procurement.procure import MOST_INSTANCES

GAP, MOST_S = 0.01, 3.0
THRIFT = 1e-3
"""What the whole budget weighs against the best pipeline: enough that nothing useless is rented."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A block of so many GPUs of each of these offers (their numbers, one for each instance), and its requests/s."""

    offers: tuple[int, ...]
    gpus: int
    rps: float


@dataclass(frozen=True, slots=True)
class Packing:
    """Copies of each offer by the size of the blocks they are cut to, and how many there are of each pipeline."""

    copies: dict[tuple[int, int], int]
    times: tuple[int, ...]


def packed(
    offers: Sequence[Offer], pipelines: Sequence[Pipeline], budget_usd_per_hour: float, *, rent_all: bool = False
) -> Packing:
    """The packing of the largest flow. Where all offers are rented anyway, money is no limit."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    solver.setOptionValue("mip_rel_gap", GAP)
    solver.setOptionValue("time_limit", MOST_S)
    cuts = sorted({(i, pipeline.gpus) for pipeline in pipelines for i in pipeline.offers})
    copies = {(i, gpus): solver.addIntegral(0, offers[i].available) for i, gpus in cuts}
    times = [solver.addIntegral(0, MOST_INSTANCES) for _ in pipelines]
    for (i, gpus), cut in copies.items():
        own = [
            (p.offers.count(i), x) for p, x in zip(pipelines, times, strict=True) if p.gpus == gpus and i in p.offers
        ]
        solver.addConstr(solver.qsum([blocks * x for blocks, x in own]) <= offers[i].gpu_count // gpus * cut)
    for most, rented in _limits(offers, budget_usd_per_hour, rent_all=rent_all):
        solver.addConstr(solver.qsum([each * copies[i, gpus] for i, gpus in cuts if (each := rented.get(i))]) <= most)
    thrift = THRIFT * max((p.rps for p in pipelines), default=0.0) / max(budget_usd_per_hour, 1e-9)
    flow = solver.qsum([p.rps * x for p, x in zip(pipelines, times, strict=True)])
    solver.maximize(flow - thrift * solver.qsum([offers[i].usd_per_hour * cut for (i, _), cut in copies.items()]))
    return Packing(
        copies={key: round(solver.val(cut)) for key, cut in copies.items()},
        times=tuple(round(solver.val(x)) for x in times),
    )


def _limits(
    offers: Sequence[Offer], budget_usd_per_hour: float, *, rent_all: bool
) -> Iterator[tuple[float, dict[int, float]]]:
    """(most, what a copy of each offer takes of it): copies on offer and, where it is free to rent, machines that
    several offers are of, instances in all, and money."""
    yield from ((float(offer.available), {i: 1.0}) for i, offer in enumerate(offers))
    if rent_all:
        return
    machines: dict[tuple[str, str], dict[int, float]] = {}
    for i, offer in enumerate(offers):
        if offer.machine:
            machines.setdefault((offer.provider, offer.machine), {})[i] = float(offer.gpu_count)
    yield from ((max(own.values()), own) for own in machines.values() if len(own) > 1)
    yield MOST_INSTANCES, dict.fromkeys(range(len(offers)), 1.0)
    yield budget_usd_per_hour, {i: offer.usd_per_hour for i, offer in enumerate(offers)}
