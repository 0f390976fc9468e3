"""`thunderctl rebalance`: phases and routes only, live."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import Infeasible, Refused, SpecError
from thunderctl.cli import output
from thunderctl.cli.decided import Decided, carry_out, is_pending, serving
from thunderctl.cli.options import JsonOption, YesOption

if TYPE_CHECKING:
    from planner.deployment import Codec, Plan
    from planner.links import Links
    from planner.rebalance import Rebalanced
    from planner.workload import Workload
    from thunderctl.observing.links import KnownLinks
    from thunderctl.observing.observe import Observation
    from thunderctl.world import World


def rebalance(
    context: typer.Context,
    workload: Annotated[str, typer.Option(help="observed, coding, conversation, or a trace's CSV.")] = "observed",
    rate: Annotated[float | None, typer.Option(help="Requests/s to plan for.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A replica or instance that is lost; may be repeated.")
    ] = None,
    links: Annotated[
        Path | None,
        typer.Option(help="Links as CSV, between instance or offer ids; they go before what agents measured."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and change nothing.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Assign phases and routes anew for a workload, without restarting an engine or losing a request.

    Example: thunderctl rebalance --workload coding
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.world import open_world

    lost = tuple(without or ())
    if (api := there.controller()) is not None:
        there.refuse_options(links=links)
        body = {"workload": workload, "rate_rps": rate, "without": list(lost)}
        there.rebalance(api, body, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    with open_world(context.obj) as world:
        carry_out(world, lambda: decided(world, workload, rate, lost, links), dry_run=dry_run, yes=yes, as_json=as_json)


def decided(world: "World", workload: str, rate: float | None, lost: tuple[str, ...], links: Path | None) -> Decided:
    """What would be put in force now. Raises Refused if nothing is served, or a replica that is not lost is away."""
    from planner.rebalance import rebalance as decide
    from planner.rebalancing.flips import without as left_of
    from thunderctl.deploying.lifecycle import refuse_unready
    from thunderctl.observing.observe import observe_once
    from thunderctl.spec.inputs import forced_codec

    current = serving(world)
    refuse_resting(world, left_of(current, lost))
    seen = asyncio.run(observe_once(world))
    refuse_unready(left_of(current, lost), seen)
    demand, known = demanded(world, current, workload, rate), known_to(current, links, seen)
    codec = forced_codec(world.spec())
    found = decide(current, demand, codec=codec, links=known.links, lost=lost)
    if lost and _all_ready(current, seen):
        found = _beside(as_it_is(current, demand, codec, known.links), found, lost)
    return Decided(current, lost, found, known, pending=is_pending(world, current))


def as_it_is(current: "Plan", demand: "Workload", codec: "Codec | None", links: "Links") -> "Plan | None":
    """The phases in force under another workload; None where they serve nothing of it."""
    from planner.links import ROUTER
    from planner.rebalance import rebalance as decide

    ids = {ROUTER, *(name for one in current.instances for name in (one.id, one.offer_id))}
    own = {pair: link for pair, link in links.items() if ids.issuperset(pair)}  # who comes back has others
    try:
        return decide(current, demand, codec=codec, links=own).before
    except Infeasible:
        return None


def _beside(now: "Plan | None", found: "Rebalanced", drained: tuple[str, ...]) -> "Rebalanced":
    """What was decided without `drained` beside what is in force `now`, as these run: not beside what is left of it."""
    if now is None or (found.before is not None and found.before.predicted == now.predicted):
        return found
    was, then = now.predicted, found.plan.predicted
    told = (
        f"Without {', '.join(drained)}: attainment {was.slo_attainment:.0%} → {then.slo_attainment:.0%} at "
        f"{found.plan.workload.rate_rps:.3g} requests/s, goodput {was.goodput_rps:.3g} → {then.goodput_rps:.3g} "
        "requests/s (simulated)."
    )
    return replace(found, before=now, why=(*found.why, told))


def _all_ready(current: "Plan", seen: "Observation") -> bool:
    from thunderctl.deploying.lifecycle import refuse_unready

    try:
        refuse_unready(current, seen)
    except Refused:
        return False
    return True


def refuse_resting(world: "World", current: "Plan") -> None:
    """A plan in which what rests has no part would have lost it for good."""
    from thunderctl.fleet.resting import Resting, resting_entries, resting_line

    resting = Resting.from_json(world.store.deployment(world.name).resting)
    if line := resting_line(resting_entries(resting, current)):
        raise Refused(
            f"Not all of the plan is there, {line}. The controller gives phases to those that serve.",
            hint=f"To have all of it first: thunderctl up {current.plan_id}",
        )


def known_to(current: "Plan", stated: Path | None, seen: "Observation") -> "KnownLinks":
    """The links of the file, then what the agents measured. Says what of that is too old."""
    from planner.links import links_from_csv
    from thunderctl.cli.tables.links import left_out
    from thunderctl.observing.links import known_links, measured_links
    from thunderctl.spec.inputs import read_text

    measured = measured_links(seen)
    for sentence in left_out(measured):
        output.narrate(sentence)
    links = links_from_csv(read_text(stated), str(stated)) if stated else {}
    return known_links(current, links, measured)


def demanded(world: "World", current: "Plan", workload: str, rate: float | None) -> "Workload":
    """The workload asked for, or the one seen, which is taken to be as bursty and as cached as the plan's."""
    from thunderctl.cli.flags import with_flags
    from thunderctl.demand import FEWEST_OBSERVED, observed_lengths, observed_workload
    from thunderctl.spec.inputs import read_workload

    if workload != "observed":
        return read_workload(with_flags(world.spec(), workload=workload, rate=rate))
    seen = asyncio.run(world.router.observed())
    if (found := observed_workload(seen, current, rate)) is None:
        count = len(observed_lengths(seen))
        raise SpecError(
            f"Only {count} requests were observed; expected {FEWEST_OBSERVED} or more to plan by.",
            hint="Say what is coming instead: --workload coding, conversation or a trace.",
        )
    return found
