"""The sections of `benchmarks/results/paper.md`: from solved cells to lines of Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import exp, inf, isfinite, isnan, log, nan

from benchmarks.paper_case import TOKENS_PER_S, Measured
from benchmarks.paper_cells import EVEN, ONE_TYPE, OURS, PUBLISHED, RAW, Group, Result, Solved, total
from planner.baselines.compare import BASELINES
from planner.deployment import Phase


def throughput(cells: Sequence[Solved]) -> list[str]:
    """Goodput on the same 32 GPUs, everybody's."""
    names = [OURS, PUBLISHED, *BASELINES]
    lines = row("model", "workload", "basis", "Gbit/s", "scale", *names, "÷ published", "÷ best baseline")
    lines += row(*["---"] * 3, *["--:"] * (len(names) + 4))
    for one in cells:
        rates = [number(one.results[name].goodput_rps) if name in one.results else "" for name in names]
        ratios = times(over(one, [PUBLISHED])), times(over(one, BASELINES))
        lines += row(*labels(one), *rates, *ratios)
    return lines


def against_a100s(cells: Sequence[Solved]) -> list[str]:
    """Beside the best of vLLM and DistServe on A100s."""
    lines = row(
        *(
            "model",
            "workload",
            "basis",
            "Gbit/s",
            "scale",
            "ours, 32 GPUs",
            "8 A100: vllm",
            "distserve",
            "6 A100: best",
        ),
        *("as they are", "a dollar", "equal money"),
    )
    lines += row(*["---"] * 3, *["--:"] * 9)
    for one in cells:
        eight = [one.results[f"{name} on 8 A100"] for name in ("vllm", "distserve")]
        best, six = most(eight), most(one.results[f"{name} on 6 A100"] for name in ("vllm", "distserve"))
        ours = one.results[OURS]
        shown = [number(result.goodput_rps) for result in (ours, *eight, six)]
        lines += row(*labels(one), *shown, *map(times, a100_ratios(ours, best, six)))
    return lines


def a100_ratios(ours: Result, eight: Result, six: Result) -> tuple[float, float, float]:
    """Ours ÷ theirs as they are, by the dollar, and to the A100s that ours would buy."""
    as_is = ratio(ours.goodput_rps, eight.goodput_rps)
    return as_is, as_is * eight.usd_per_hour / ours.usd_per_hour, ratio(ours.goodput_rps, six.goodput_rps)


def deadlines(cells: Sequence[Solved]) -> list[str]:
    """The tightest SLO scale at which a rate is reached, everybody planned anew for each scale."""
    names = [OURS, PUBLISHED, *BASELINES, "vllm on 8 A100"]
    lines = row("workload", "basis", "Gbit/s", "requests/s", *names, "published ÷ ours", "best baseline ÷ ours")
    lines += row("---", "---", *["--:"] * (len(names) + 4))
    for swept in sweeps(cells):
        cell, rate = swept[0].cell, asked_rps(swept)
        tight = {name: tightest(swept, name, rate) for name in names}
        asked = cell.workload, cell.basis, f"{cell.gbit_per_s:g}", number(rate)
        lines += row(*asked, *(number(tight[name]) for name in names), *map(times, tighter(swept)))
    return lines


def sweeps(cells: Sequence[Solved]) -> list[list[Solved]]:
    """Cells that differ in the SLO's scale only, by scale."""
    alike: dict[object, list[Solved]] = {}
    for one in cells:
        alike.setdefault(replace(one.cell, scale=0.0, ablations=False), []).append(one)
    return [sorted(found, key=lambda one: one.cell.scale) for found in alike.values() if len(found) > 1]


def asked_rps(swept: Sequence[Solved]) -> float:
    """What the best baseline keeps up with at the middle scale, with room to spare."""
    return swept[len(swept) // 2].rate_rps


def tightest(swept: Sequence[Solved], name: str, rate_rps: float) -> float:
    """The scale at which goodput reaches a rate, between two scales along the line in log scale; infinite if none does.

    The smallest scale planned for where that is more than enough.
    """
    reached = [(one.cell.scale, one.results[name].goodput_rps) for one in swept]
    if reached[0][1] >= rate_rps:
        return reached[0][0]
    for (low, short), (high, enough) in pairwise(reached):
        if enough >= rate_rps:
            return float(low * (high / low) ** ((rate_rps - short) / (enough - short)))
    return inf


def tighter(swept: Sequence[Solved]) -> tuple[float, float]:
    """How many times tighter ours is than the published plan's deadline, and than the best baseline's."""
    rate = asked_rps(swept)
    ours, published = (tightest(swept, name, rate) for name in (OURS, PUBLISHED))
    return ratio(published, ours), ratio(min(tightest(swept, name, rate) for name in BASELINES), ours)


def ablations(cells: Sequence[Solved]) -> list[str]:
    """What is left of the goodput without a part."""
    names = (RAW, EVEN, ONE_TYPE)
    lines = row("workload", "basis", "Gbit/s", OURS, *names)
    lines += row("---", "---", *["--:"] * (len(names) + 2))
    for one in cells:
        ours = one.results[OURS].goodput_rps
        left = (one.results[name].goodput_rps for name in names)
        parts = [f"{number(rps)} ({ratio(rps, ours):.0%})" if ours else "-" for rps in left]
        lines += row(one.cell.workload, one.cell.basis, f"{one.cell.gbit_per_s:g}", number(ours), *parts)
    return lines


def plans(cells: Sequence[Solved]) -> list[str]:
    """Replicas and GPUs by phase, ours beside the published."""
    lines = row("workload", "basis", "plan", *(phase.value for phase in Phase), "replicas: phase, GPUs (TP, PP)")
    lines += row(*["---"] * 7)
    for one in cells:
        for name in (OURS, PUBLISHED):
            groups = one.results[name].groups
            lines += row(
                one.cell.workload, one.cell.basis, name, *(held(groups, phase) for phase in Phase), listed(groups)
            )
    return lines


def prefilling(cells: Sequence[Solved]) -> list[str]:
    """GPUs that only prefill and that only decode, of all: whether coding has more of the first than conversation."""
    lines = row(
        "plan", "basis", *(f"{one}: {what}" for one in ("coding", "conversation") for what in ("prefill", "decode"))
    )
    lines += row("---", "---", *["--:"] * 4)
    for name, basis in dict.fromkeys((name, one.cell.basis) for name in (OURS, PUBLISHED) for one in cells):
        counts = [
            str(total(one.results[name].groups, phase)[1].total())
            for workload in ("coding", "conversation")
            for one in cells
            if (one.cell.workload, one.cell.basis) == (workload, basis)
            for phase in ("prefill", "decode")
        ]
        lines += row(name, basis, *counts)
    return lines


def held(groups: Sequence[Group], phase: Phase) -> str:
    """`4 replicas: 8 A40, 2 A5000`."""
    replicas, gpus = total(groups, phase.value)
    return f"{replicas}: {', '.join(f'{n} {gpu}' for gpu, n in sorted(gpus.items()))}" if replicas else "-"


def listed(groups: Sequence[Group]) -> str:
    """Alike ones once, with their number."""
    return "; ".join(f"{group}" + (f" times {n}" if n > 1 else "") for group, n in Counter(groups).items())


def case(found: Sequence[Measured]) -> list[str]:
    """The 8 GPUs, as ratios to phases together."""
    together, fast, slow = TOKENS_PER_S.values()
    head = ("mix", "basis", "scale", "together", "apart, 40 Gbit/s", "5 Gbit/s", "ratio, 40", "ratio, 5")
    lines = row(*head, "ours ÷ together, 40", "5")
    lines += row("---", "---", *["--:"] * 8)
    lines += row(
        "as published, tokens/s", "-", "-", *(f"{x:,.0f}" for x in (together, fast, slow)), "2.04", "1.36", "", ""
    )
    for one in found:
        rates = one.together_rps, one.apart_fast_rps, one.apart_slow_rps
        ratios = (
            ratio(rps, one.together_rps)
            for rps in (one.apart_fast_rps, one.apart_slow_rps, one.free_fast_rps, one.free_slow_rps)
        )
        asked = one.case.workload, one.case.basis, f"{one.case.scale:g}"
        lines += row(*asked, *map(number, rates), *map(times, ratios))
    return lines


def over(one: Solved, names: Iterable[str]) -> float:
    """Goodput of ours ÷ the best of these; NaN where none of them takes part."""
    there = [one.results[name] for name in names if name in one.results]
    return ratio(one.results[OURS].goodput_rps, most(there).goodput_rps) if there else nan


def labels(one: Solved) -> tuple[str, ...]:
    cell = one.cell
    return cell.model, cell.workload, cell.basis, f"{cell.gbit_per_s:g}", f"{cell.scale:g}"


def row(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def most(results: Iterable[Result]) -> Result:
    return max(results, key=lambda result: result.goodput_rps)


def ratio(one: float, other: float) -> float:
    """Infinite over nothing; NaN where both are nothing or endless."""
    if other == 0:
        return inf if one > 0 else nan
    return nan if one == other == inf else one / other


def mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def number(value: float) -> str:
    return "-" if not isfinite(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def times(value: float) -> str:
    return "-" if isnan(value) else "∞" if value == inf else f"{value:.2f}"
