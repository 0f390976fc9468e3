"""Why there is no plan, in numbers: the limit that binds, and what would work."""

from collections.abc import Sequence
from math import ceil

from planner.advice.joined import joined_layouts, most_gib
from planner.catalog import Offer
from planner.errors import Infeasible
from planner.links import Links
from planner.llm import LlmSpec
from planner.market import Market
from planner.memory import GIB, UTILISATION
from planner.parallel.layouts import Capacities, Layout, Share, Task
from planner.procurement.groups import SIZES, kind_of
from planner.requirements import Fitness, fitness, offers_in_words, refusals_in_words
from planner.search.supply import Supply


def nothing_serves(capacities: Capacities, market: Market, links: Links) -> Infeasible:
    """No group of any offer serves a request within the SLO: too little memory, or too slow."""
    task, offers = capacities.task, market.offers
    if not offers:
        hint = "Add rows to the file of offers." if market.source == "file" else "Allow more providers or regions."
        return Infeasible("There are no offers to plan with; expected 1 or more.", hint=hint)
    sorted_out = fitness(task.llm, offers)
    if not sorted_out.fit:
        return _unfit(task.llm, sorted_out)
    offers = sorted_out.fit
    fitting = [layout for offer in offers for layout in _layouts(capacities, offer)]
    if fitting:
        return _too_slow(task, fitting)
    joined = joined_layouts(capacities, offers, links)
    return _too_slow_joined(task, joined) if joined else _too_small(task, offers, links)


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
        f"The engine runs on none of the {offers_in_words(len(found.refused))} with {llm.dtype} weights of {llm.name}: "
        f"{found.refused_in_words}. {refusals_in_words(found.refused)}",
        hint="Allow other providers or GPUs, or another dtype (--dtypes).",
    )


def _layouts(capacities: Capacities, offer: Offer) -> list[Layout]:
    kind = kind_of(offer)
    return [layout for size in SIZES if size <= offer.gpu_count for layout in capacities.layouts((Share(kind, size),))]


def _too_slow(task: Task, fitting: Sequence[Layout]) -> Infeasible:
    return Infeasible(
        f"No instance on offer serves {_within(task)}: alone, {_latencies(task, fitting)} at best.",
        hint="Relax the SLO, or allow faster GPUs.",
    )


def _too_slow_joined(task: Task, fitting: Sequence[Layout]) -> Infeasible:
    """The weights fit no instance, but several of one network, which are too slow or too far from each other."""
    return Infeasible(
        f"No instance on offer holds {task.llm.name}, and several of one network do not serve {_within(task)}: alone, "
        f"{_latencies(task, fitting)} over as few as hold it.",
        hint="Relax the SLO, or allow larger instances, faster GPUs or faster links.",
    )


def _within(task: Task) -> str:
    slo = task.slo
    return (
        f"{task.llm.name} within TTFT {slo.ttft_s:g} s and TPOT {slo.tpot_s:g} s for {slo.attainment:.0%} of requests"
    )


def _latencies(task: Task, fitting: Sequence[Layout]) -> str:
    first = min(float(layout.pace.prefill_s(task.demand.prompt_mean)) for layout in fitting)
    step = min(float(layout.pace.decode_step_s(1.0, task.demand.context)) for layout in fitting)
    return f"a mean prompt takes {first:.3g} s and a token {step:.3g} s"


def _too_small(task: Task, offers: Sequence[Offer], links: Links) -> Infeasible:
    llm = task.llm
    need = (llm.weight_bytes + task.max_model_len * llm.kv_bytes_per_token) / GIB
    best = max(offers, key=lambda offer: offer.gpu_count * offer.memory_gib)
    room = best.gpu_count * best.memory_gib * UTILISATION
    together = most_gib(Supply(offers, llm, links=links))
    joined = f", and {together:.0f} GiB of one network's instances together" if together > room else ""
    return Infeasible(
        f"{llm.name} needs {need:.0f} GiB for its weights and one request of {task.max_model_len} tokens; the largest "
        f"instance on offer is {best.gpu_count} x {best.gpu.name}, of which {room:.0f} GiB can be used{joined}.",
        hint="Allow larger instances, a smaller model, a quantised checkpoint, or a smaller max_model_len.",
    )
