"""`thunderctl rebalance`: phases and routes only, live."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import Refused, SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, YesOption, confirm

if TYPE_CHECKING:
    from planner.deployment import Phase, Plan
    from planner.rebalance import Rebalanced
    from planner.workload import Workload
    from thunderctl.links import KnownLinks
    from thunderctl.observe import Observation
    from thunderctl.world import World


@dataclass(frozen=True, slots=True)
class InForce:
    """The plan in force when the command ends, the number of its epoch, and how long putting it there took."""

    plan: "Plan"
    epoch: int
    applied_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decided:
    """The plan in force when it was looked at, what was decided instead, and on which links."""

    current: "Plan"
    lost: tuple[str, ...]
    rebalanced: "Rebalanced"
    known: "KnownLinks"

    @property
    def wanted(self) -> "Plan":
        """The plan decided on."""
        return self.rebalanced.plan

    @property
    def changes(self) -> bool:
        """Whether it is another than the plan in force."""
        from thunderctl.lifecycle import differ

        return bool(self.lost) or differ(self.current, self.wanted)


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

    if (api := there.controller()) is not None:
        there.refuse_options(links=links)
        body = {"workload": workload, "rate_rps": rate, "without": list(without or ())}
        there.rebalance(api, body, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    with open_world(context.obj) as world:
        while True:
            found = _decided(world, workload, rate, tuple(without or ()), links)
            if not as_json:
                _show(found)
            _warn(found.wanted)
            outcome: InForce | None = InForce(found.current, world.store.deployment(world.name).epoch)
            if found.changes and not dry_run:
                # It holds no lock: the controller goes on while nobody answers.
                confirm("Put these phases and routes in force?", yes=yes)
                outcome = _put_in_force(world, found)
            if outcome is not None:
                break
            output.narrate("Another plan was put in force meanwhile: deciding anew.")
        if as_json:
            output.print_json(_document(found, outcome))
        elif not found.changes:
            output.narrate("Nothing to change: phases and routes are the best for this workload.")
        elif not dry_run:
            output.narrate(
                f"Epoch {outcome.epoch} in force: decided in {found.rebalanced.decide_s:.2f} s, confirmed by "
                f"simulation in {found.rebalanced.confirm_s:.2f} s, applied in {outcome.applied_s:.2f} s."
            )


def _decided(world: "World", workload: str, rate: float | None, lost: tuple[str, ...], links: Path | None) -> Decided:
    """What would be put in force now. Raises Refused if nothing is served, or a replica that is not lost is away."""
    from planner.rebalance import rebalance as decide
    from planner.rebalancing.flips import without as left_of
    from thunderctl.compose import forced_codec
    from thunderctl.lifecycle import refuse_unready
    from thunderctl.observe import observe_once

    current = _serving(world)
    _refuse_resting(world, left_of(current, lost))
    seen = asyncio.run(observe_once(world))
    refuse_unready(left_of(current, lost), seen)
    demand, known = _demand(world, current, workload, rate), _known_links(current, links, seen)
    found = decide(current, demand, codec=forced_codec(world.spec()), links=known.links, lost=lost)
    return Decided(current, lost, found, known)


def _refuse_resting(world: "World", current: "Plan") -> None:
    """A plan in which what rests has no part would have lost it for good."""
    from thunderctl.resting import Resting, resting_entries, resting_line

    resting = Resting.from_json(world.store.deployment(world.name).resting)
    if line := resting_line(resting_entries(resting, current)):
        raise Refused(
            f"Not all of the plan is there, {line}. The controller gives phases to those that serve.",
            hint=f"To have all of it first: thunderctl up {current.plan_id}",
        )


def _serving(world: "World") -> "Plan":
    """The plan that is served now. Raises Refused if none is."""
    from thunderctl.lifecycle import plan_in_force

    current = plan_in_force(world)
    if current is None or world.router.running() is None:
        raise Refused(f"Deployment {world.name} is not serving.", hint="Bring it up first: thunderctl up")
    return current


def _put_in_force(world: "World", found: Decided) -> InForce | None:
    """None, with nothing done, if another plan is in force than the one that was looked at."""
    from planner.rebalancing.flips import without as left_of
    from thunderctl.lifecycle import flip, refuse_unready
    from thunderctl.observe import observe_once

    with world.store.lock(world.name, "rebalance") as held:
        if _serving(world) != found.current:
            return None
        refuse_unready(left_of(found.current, found.lost), asyncio.run(observe_once(world)))
        started = time.monotonic()
        epoch = asyncio.run(held.during(flip(world, found.current, found.wanted)))
        return InForce(found.wanted, epoch, time.monotonic() - started)


def _known_links(current: "Plan", stated: Path | None, seen: "Observation") -> "KnownLinks":
    """The links of the file, then what the agents measured. Says what of that is too old."""
    from planner.links import links_from_csv
    from thunderctl.cli.link_tables import left_out
    from thunderctl.compose import read_text
    from thunderctl.links import known_links, measured_links

    measured = measured_links(seen)
    for sentence in left_out(measured):
        output.narrate(sentence)
    links = links_from_csv(read_text(stated), str(stated)) if stated else {}
    return known_links(current, links, measured)


def _demand(world: "World", current: "Plan", workload: str, rate: float | None) -> "Workload":
    """The workload asked for, or the one seen, which is taken to be as bursty and as cached as the plan's."""
    from thunderctl.cli.flags import with_flags
    from thunderctl.compose import read_workload
    from thunderctl.demand import FEWEST_OBSERVED, observed_lengths, observed_workload

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


def _document(decided: Decided, outcome: InForce) -> dict[str, Any]:
    """`predicted_before` is of the phases in force under the new workload; of the plan as it was made if they can't
    serve that."""
    from planner.document import plan_to_json
    from thunderctl.lifecycle import flips_between
    from thunderctl.links import planned_links

    current, found = decided.current, decided.rebalanced
    after = plan_to_json(found.plan)
    return {
        "schema": "thunder.rebalance/v1",
        "decide_s": round(found.decide_s, 4),
        "confirm_s": round(found.confirm_s, 4),
        "apply_s": round(outcome.applied_s, 4),
        "epoch": outcome.epoch,
        "changes": decided.changes,
        "flips": [{"replica": f.replica, "from": f.before, "to": f.after} for f in flips_between(current, found.plan)],
        "routes": after["routes"],
        "links": [
            {
                "from": one.source,
                "to": one.target,
                "bandwidth_gbit_per_s": one.link.bandwidth_gbit_per_s,
                "latency_ms": one.link.latency_ms,
                "basis": one.basis,
            }
            for one in planned_links(found.plan, decided.known)
        ],
        "predicted_before": plan_to_json(found.before or current)["predicted"],
        "predicted_after": after["predicted"],
        "why": list(found.why),
        "plan_id": outcome.plan.plan_id,
    }


def _show(found: Decided) -> None:
    from thunderctl.cli.link_tables import FIGURES, planned_rows
    from thunderctl.cli.plan_tables import routes_table
    from thunderctl.links import planned_links

    current, wanted = found.current, found.wanted
    after = {replica.id: replica.phase for replica in wanted.replicas}
    rows = [(r.id, r.phase, _becomes(r.phase, after.get(r.id))) for r in current.replicas]
    title = f"Phases for {wanted.workload.name}"
    output.show(output.table(title, ("replica", "phase now", "becomes"), rows), routes_table(wanted))
    if links := planned_links(wanted, found.known):
        output.show(output.table("Links", *planned_rows(links), right=FIGURES))
    for sentence in found.rebalanced.why:
        output.narrate(sentence)


def _warn(wanted: "Plan") -> None:
    predicted = wanted.predicted.slo_attainment
    if predicted < wanted.slo.attainment:
        output.narrate(
            f"Warning: {predicted:.0%} of these requests are expected to meet the targets (wanted "
            f"{wanted.slo.attainment:.0%}): the rate is more than these machines serve."
        )


def _becomes(before: "Phase", after: "Phase | None") -> str:
    if after is None:
        return "left out"
    return "stays" if after is before else after
