"""The page: what is simulated and how, attainment and money by policy, ticks, and the fluid beside requests."""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.fluid.fixed import Fixed
from benchmarks.fluid.fleet import GPUS
from benchmarks.fluid.lived import Lived
from benchmarks.fluid.load import MINUTE_S, Load, mixture
from benchmarks.fluid.service import Curve
from benchmarks.fluid.windows import Window
from planner.demand import Floats
from planner.deployment import Plan
from runtime.router.watching.observed import KEPT_REQUESTS

TICK_TARGET_MS, ROUTES_TARGET_S = 250, 3


def page(
    load: Load,
    plan: Plan,
    lived: Lived,
    others: dict[str, Fixed],
    windows: Sequence[Window],
    curve: Curve,
    command: str,
    machine: str,
    tick_s: float,
) -> list[str]:
    return [
        *_head(load, plan, lived, curve, command, machine, tick_s),
        *_policies(load, lived, others),
        *_code(lived),
        *_windows(windows),
        *_limits(),
    ]


def _head(
    load: Load, plan: Plan, lived: Lived, curve: Curve, command: str, machine: str, tick_s: float
) -> Iterator[str]:
    hours, rate = load.minutes / 60, load.rate_rps
    yield "# The controller at scale, simulated"
    yield ""
    yield f"Made by `{command}` on {machine}."
    yield ""
    yield (
        "**All figures but the times of the code are simulated.** The controller's loop, observer, listings, "
        "decisions, alerts,"
    )
    yield (
        "sizing, adapting and hands are the real code, driven by a clock of the benchmark's. The provider, the "
        "agents, the"
    )
    yield (
        "router, the `up` that a replacement runs (for the instances that it is named, beside the controller) "
        "and all requests"
    )
    yield "are simulated."
    yield ""
    yield (
        f"- Fleet: {len(plan.replicas)} replicas of {plan.llm.name}, one a machine, as many of each of "
        f"{', '.join(GPUS)};"
    )
    yield (
        f"  TTFT {plan.slo.ttft_s:g} s, TPOT {plan.slo.tpot_s:g} s at {plan.slo.attainment:.0%}. All are spot "
        "machines, and all are there at the beginning."
    )
    yield (
        f"- Load: {hours:.0f} hours, {rate.min():.0f} to {rate.max():.0f} requests/s, "
        f"{load.coding_share.min():.0%} to {load.coding_share.max():.0%} of them coding. Minutes"
    )
    yield "  vary as in the Azure traces of 2023; the shape of the days is made up, as the traces have an hour each."
    yield f"- Losses: {lived.lost} machines taken back at random times, half of them with two minutes' notice."
    yield (
        "- Prices: the cheapest of each snapshot of `vast_price_samples.csv`, which are floor prices; "
        f"{len(plan.replicas)} machines could"
    )
    yield (
        f"  not be had at these. What was leased keeps its price. Budget: ${plan.budget_usd_per_hour:.2f}/h, held "
        "at every step (the"
    )
    yield f"  run would have failed); at most ${max(lived.burned):.2f}/h were paid."
    yield (
        f"- The controller ticks every {tick_s:g} s here (2 s in life), and looks at phases and routes every "
        "4 minutes (30 s), so it is"
    )
    yield (
        "  later here than in life. After a loss, a decision about the fleet's size, or one that a look beside the "
        "ticks has found, the next"
    )
    yield (
        "  tick comes after 0.25 or 2 s, as in life: a look takes less. Where an assessment promises something, the "
        "second one comes after 30 s."
    )
    yield (
        "- Assessments go by the fluid, as what requests attain is checked below; in life by simulated runs. What a "
        "rebalance promises is"
    )
    yield "  worked out once more, without the long runs that confirm it in life."
    yield (
        f"- The router's load is that of what it remembers, {KEPT_REQUESTS:,} requests or five minutes; here in whole "
        "minutes, so of one at least."
    )
    yield (
        f"- Replicas serve {curve.knee:.2f} times what the planner's capacities say before attainment falls below "
        "the target, by simulated"
    )
    yield "  runs of one cell; all rows below go by that."
    yield ""


def _policies(load: Load, lived: Lived, others: dict[str, Fixed]) -> Iterator[str]:
    yield "## Attainment and money"
    yield ""
    yield (
        "| policy | attainment | worst hour | requests in time, million | $ | $ per million output tokens in time"
        " | machines at most |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --: |"
    minutes = by_minute(load, lived)
    yield _row("controller: replaces, rebalances, scales", load, minutes, lived.spent_usd, max(lived.serving))
    for name, one in others.items():
        yield _row(name, load, one.attained, one.spent_usd, one.machines)
    yield ""
    yield (
        "The static fleets and the oracle are sized by a linear program that knows every hour's load, their "
        "requests are spread"
    )
    yield (
        "perfectly, and their machines keep the first hour's prices (the oracle pays each hour's). Nobody has "
        "such a static"
    )
    yield (
        "fleet: who sizes one does not know the days. The oracle is remade each hour for nothing: no starts, no losses."
    )
    yield ""
    yield (
        f"The controller made {lived.rebalances} rebalances ({lived.flips} flips) and {lived.epochs} epochs of "
        f"routes, leased {lived.leased} machines, let {lived.released} go, and"
    )
    yield (
        f"lost {lived.lost}. {lived.refused} times a replacement found no room in the budget. Machines that serve:"
        f" {min(lived.serving)} to {max(lived.serving)}."
    )
    yield (
        "Routes after a loss, and over a fleet of another size, have the phases that suit what comes then: so a "
        "rebalance finds little to add."
    )
    yield ""


def _row(name: str, load: Load, attained: Floats, usd: float, machines: float) -> str:
    came = load.rate_rps * MINUTE_S
    met = attained * came
    hours = [slice(at, at + 60) for at in range(0, load.minutes, 60)]
    worst = min(met[one].sum() / came[one].sum() for one in hours)
    tokens = sum(
        done * mixture(round(float(share), 1)).output_tokens_mean
        for done, share in zip(met, load.coding_share, strict=True)
    )
    return (
        f"| {name} | {met.sum() / came.sum():.4f} | {worst:.4f} | {met.sum() / 1e6:.1f} | {usd:,.0f} "
        f"| {usd / tokens * 1e6:.3f} | {machines:.0f} |"
    )


def by_minute(load: Load, lived: Lived) -> Floats:
    """The mean attainment of each minute, (minutes,), of which intervals between ticks are parts."""
    ends = np.concatenate([[0.0], np.cumsum(lived.seconds)])
    until = np.concatenate([[0.0], np.cumsum(np.multiply(lived.attained, lived.seconds))])
    return np.diff(np.interp(np.arange(load.minutes + 1) * MINUTE_S, ends, until)) / MINUTE_S


def _code(lived: Lived) -> Iterator[str]:
    yield "## What the controller's code takes"
    yield ""
    yield (
        "CPU time of one thread, ms; on an idle machine that is the time it takes. A tick is all of it, made-up "
        "agents' and"
    )
    yield (
        f"provider's answers included; the target is {TICK_TARGET_MS} ms. What another thread does, while ticks go"
        " on, is below."
    )
    yield ""
    yield "| part | times | median | p99 | max |"
    yield "| --- | --: | --: | --: | --: |"
    for name, taken in {"tick": lived.tick_s, **lived.part_s}.items():
        yield _timed(name, taken)
    for name, taken in lived.beside_s.items():
        yield _timed(f"beside: {name}", taken)
    yield ""
    over = float(np.mean(np.array(lived.tick_s) * 1e3 > TICK_TARGET_MS))
    yield f"- Ticks over the target: {over:.2%}."
    slowest = max(lived.beside_s.get("routes over those left", [0.0]))
    yield f"- Routes over those left after a loss: **{slowest:.2f} s** at most (target {ROUTES_TARGET_S} s)."
    yield ""


def _timed(name: str, taken: Sequence[float]) -> str:
    median, p99 = np.percentile(taken, [50, 99]) * 1e3
    return f"| {name} | {len(taken):,} | {median:.1f} | {p99:.1f} | {max(taken) * 1e3:.1f} |"


def _windows(windows: Sequence[Window]) -> Iterator[str]:
    yield "## The fluid beside requests"
    yield ""
    yield (
        "Minutes of the days, in the phases and routes that the controller had in force: a sample of the groups "
        "of replicas that"
    )
    yield (
        "exchange requests, four minutes of requests at the minute's rate, by the planner's simulator; and the "
        "fluid over the same."
    )
    yield ""
    yield "| minute | requests/s of all | coding | replicas | fluid | requests | difference |"
    yield "| --: | --: | --: | --: | --: | --: | --: |"
    for one in windows:
        yield (
            f"| {one.minute} | {one.rate_rps:.0f} | {one.coding_share:.0%} | {one.replicas} | {one.fluid:.3f} "
            f"| {one.simulated:.3f} | {one.fluid - one.simulated:+.3f} |"
        )
    off = [abs(one.fluid - one.simulated) for one in windows]
    yield ""
    yield f"- Mean difference: **{np.mean(off) if off else 0.0:.3f}**, largest {max(off, default=0.0):.3f}."
    yield ""


def _limits() -> Iterator[str]:
    yield "## What this does not show"
    yield ""
    yield (
        "- A market's depth: there are always machines at the floor price. Failed starts, slow downloads, links "
        "that differ."
    )
    yield "- The network time of 500 agents' answers, and a store on a disk: the one here is in memory."
    yield "- The router's own choice among replicas: the fluid goes by the routes' shares."
