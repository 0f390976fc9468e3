"""An explanation as tables people can read."""

from typing import TYPE_CHECKING

from planner.advice.explain import Explanation, Reason
from planner.advice.robustness import WhatIf
from planner.deployment import Plan
from thunderctl.cli.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

STAYS = (
    "Shares stay as they are: a rate at which one part of the fleet falls far behind (fewer than half of its requests "
    "in time) counts as lost, however well the others do. `rebalance` would move shares away from it.\n"
)


def explain_tables(plan: Plan, found: Explanation) -> "Iterator[RenderableType]":
    """Why these instances, what binds, how it degrades, and where the time to the first token goes."""
    from rich.text import Text

    if found.reasons:
        yield _reasons(found)
    yield _levers(found)
    if found.levers_left_out:
        yield Text(found.levers_left_out)
    yield _what_ifs(plan, found)
    yield Text(STAYS)
    yield _startup(plan, found)


def _reasons(found: Explanation) -> "RenderableType":
    title = "Why these offers ($/h for each request/s, were the whole offer to do this phase; analytic)"
    columns = ("offer", "phase", "serves", "$/h per request/s", "best not taken", "its $/h", "why not that")
    rows = [_reason_row(reason) for reason in found.reasons]
    return table(title, columns, rows, right=("serves", "$/h per request/s", "its $/h"))


def _reason_row(reason: Reason) -> tuple[str, ...]:
    none = not reason.next_offer_id
    return (
        reason.offer_id,
        reason.phase,
        f"{reason.served_rps:.2f}",
        f"{reason.usd_per_hour_per_rps:.3f}",
        reason.next_offer_id or "no other serves it",
        "-" if none else f"{reason.next_usd_per_hour_per_rps:.3f}",
        reason.why_not,
    )


def _levers(found: Explanation) -> "RenderableType":
    binding = ", ".join(dict.fromkeys(lever.limit for lever in found.binding)) or "none of these"
    rows = [
        (
            lever.change,
            f"{lever.before_rps:.2f}",
            f"{lever.after_rps:.2f}",
            f"{lever.gain:+.1%}" if lever.binds else "-",
        )
        for lever in found.levers
    ]
    columns = ("with", "requests/s", "becomes", "gain")
    return table(f"What binds: {binding} (analytic)", columns, rows, right=columns[1:])


def _what_ifs(plan: Plan, found: Explanation) -> "RenderableType":
    rate = plan.predicted.goodput_rps
    columns = ("if", "goodput", "of the plan's", f"attainment at {rate:.2f} requests/s")
    rows = [_what_if_row(one, rate) for one in found.what_ifs]
    return table("How it degrades (simulated; the same replicas and routes)", columns, rows, right=columns[1:])


def _what_if_row(one: WhatIf, rate: float) -> tuple[str, ...]:
    return (one.what, f"{one.goodput_rps:.2f}", f"{one.goodput_rps / rate:.0%}", f"{one.slo_attainment:.1%}")


def _startup(plan: Plan, found: Explanation) -> "RenderableType":
    of = found.startup
    pieces = (
        ("boot", of.boot_s),
        ("environment", of.environment_s),
        ("weights over the network", of.download_s),
        ("weights onto the GPUs", of.load_s),
        ("engine", of.engine_s),
        (f"time to the first token from zero (${plan.startup_usd:.2f})", of.seconds),
    )
    rows = [(name, f"{seconds:,.0f}") for name, seconds in pieces]
    return table("Start-up of the slowest instance (estimated)", ("piece", "s"), rows, right=("s",))
