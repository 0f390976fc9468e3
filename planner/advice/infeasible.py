"""Why there is no plan, in numbers: the limit that binds, and what would work."""

from collections.abc import Sequence
from math import ceil

from planner.catalog import Offer
from planner.errors import Infeasible
from planner.llm import LlmSpec
from planner.memory import GIB, UTILISATION
from planner.parallel.layouts import Capacities, GpuKind, Layout, Share, Task
from planner.procurement.groups import SIZES
from planner.requirements import Fitness, fitness, refusals_in_words


def nothing_serves(capacities: Capacities, offers: Sequence[Offer]) -> Infeasible:
    """No group of any offer serves a request within the SLO: too little memory, or too slow."""
    task = capacities.task
    if not offers:
        return Infeasible(
            "There are no offers to plan with; expected 1 or more.", hint="Allow more providers or regions."
        )
    sorted_out = fitness(task.llm, offers)
    if not sorted_out.fit:
        return _unfit(task.llm, sorted_out)
    offers = sorted_out.fit
    fitting = [layout for offer in offers for layout in _layouts(capacities, offer)]
    return _too_slow(task, fitting) if fitting else _too_small(task.llm, task.max_model_len, offers)


def too_dear(task: Task, budget_usd_per_hour: float, least_usd_per_hour: float, rate_rps: float | None) -> Infeasible:
    """The budget is below what the cheapest plan costs, which is rounded up to a cent."""
    what = f"serves {rate_rps:g} requests/s of {task.llm.name}" if rate_rps else f"serves {task.llm.name}"
    return Infeasible(
        f"The budget is {budget_usd_per_hour:.2f} $/h; the cheapest plan that {what} within TTFT {task.slo.ttft_s:g} s "
        f"and TPOT {task.slo.tpot_s:g} s costs {ceil(least_usd_per_hour * 100) / 100:.2f} $/h.",
        hint="Raise the budget" + (", lower the rate, or relax the SLO." if rate_rps else ", or relax the SLO."),
    )


def too_much(task: Task, rate_rps: float, most_rps: float) -> Infeasible:
    """The rate is beyond everything on offer."""
    return Infeasible(
        f"All offers together serve {most_rps:.1f} requests/s of {task.llm.name} within the SLO; expected "
        f"{rate_rps:g}.",
        hint="Lower the rate, relax the SLO, or allow more providers or regions.",
    )


def unconfirmed(task: Task, rate_rps: float | None) -> Infeasible:
    """The cost model promised what simulation does not confirm."""
    what = f"at {rate_rps:g} requests/s " if rate_rps else ""
    return Infeasible(
        f"In simulation no plan {what}for this budget keeps {task.slo.attainment:.0%} of the requests within TTFT "
        f"{task.slo.ttft_s:g} s and TPOT {task.slo.tpot_s:g} s.",
        hint="Raise the budget, relax the SLO, or lower the rate.",
    )


def _unfit(llm: LlmSpec, found: Fitness) -> Infeasible:
    return Infeasible(
        f"The engine runs on none of the {len(found.refused)} offers with {llm.dtype} weights of {llm.name}: "
        f"{found.refused_in_words}. {refusals_in_words(found.refused)}",
        hint="Allow other providers or GPUs, or another dtype (--dtypes).",
    )


def _layouts(capacities: Capacities, offer: Offer) -> list[Layout]:
    kind = GpuKind(offer.gpu, offer.memory_gib, offer.nvlink)
    return [layout for size in SIZES if size <= offer.gpu_count for layout in capacities.layouts((Share(kind, size),))]


def _too_slow(task: Task, fitting: Sequence[Layout]) -> Infeasible:
    first = min(float(layout.pace.prefill_s(task.demand.prompt_mean)) for layout in fitting)
    step = min(float(layout.pace.decode_step_s(1.0, task.demand.context)) for layout in fitting)
    return Infeasible(
        f"No instance on offer serves {task.llm.name} within TTFT {task.slo.ttft_s:g} s and TPOT {task.slo.tpot_s:g} s "
        f"for {task.slo.attainment:.0%} of requests: alone, a mean prompt takes {first:.3g} s and a token {step:.3g} s "
        "at best.",
        hint="Relax the SLO, or allow faster GPUs.",
    )


def _too_small(llm: LlmSpec, max_model_len: int, offers: Sequence[Offer]) -> Infeasible:
    need = (llm.weight_bytes + max_model_len * llm.kv_bytes_per_token) / GIB
    best = max(offers, key=lambda offer: offer.gpu_count * offer.memory_gib)
    room = best.gpu_count * best.memory_gib * UTILISATION
    return Infeasible(
        f"{llm.name} needs {need:.0f} GiB for its weights and one request of {max_model_len} tokens; the largest "
        f"instance on offer is {best.gpu_count} x {best.gpu.name}, of which {room:.0f} GiB can be used.",
        hint="Allow larger instances, a smaller model, a quantised checkpoint, or a smaller max_model_len.",
    )
