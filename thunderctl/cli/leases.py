"""`thunderctl leases`: what is rented, what it costs and has cost, and what no lease stands for."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, YesOption, confirm
from thunderctl.money.spent.by import By

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thunderctl.cli.tables.spend_report import SpendReport
    from thunderctl.deploying.strays import Looked, Stray
    from thunderctl.money.spending import Spending
    from thunderctl.spec.spec import Spec
    from thunderctl.world import World


def leases(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="The ended ones too.")] = False,
    report: Annotated[bool, typer.Option("--report", help="What was spent: by day, lease, model and way.")] = False,
    by: Annotated[
        list[By] | None, typer.Option("--by", help="Add up what was spent by that; repeat it for both, day and model.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only what was spent from then on: 7d ago, or 2027-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Only what was spent before then.")] = None,
    tz: Annotated[str, typer.Option(help="Where days and hours are those of the clock, as Europe/Berlin.")] = "UTC",
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Write what was spent there: a line for each sum of --by, else each lease and hour."
        ),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option("--forget", metavar="LEASE", help="Write this one off, which nobody can prove gone any more."),
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List what is rented and what it costs and has cost.

    Example: thunderctl leases --report --by day --since 2027-01-01 --tz Europe/Berlin
    """
    from thunderctl.cli import elsewhere as there

    if (api := there.controller()) is not None:
        there.refuse_options(all=everything, report=report, by=by, since=since, until=until, csv=csv, forget=forget)
        there.show_leases(api, as_json=as_json)
        return
    if forget is not None:
        _forget(context.obj, forget, yes=yes)
    from thunderctl.cli.tables.spend_report import Asked, report_of
    from thunderctl.deploying.strays import look_around, strays_of
    from thunderctl.home import owner_id
    from thunderctl.money.spending import spending_of, warnings_of
    from thunderctl.status.documents.leases import lease_entry, leases_document
    from thunderctl.world import open_world

    asked = Asked.read(tuple(by or ()), since, until, tz, time.time())
    with open_world(context.obj) as world:
        world.written = _written(world)
        looked = asyncio.run(look_around(world))
        spending = spending_of(world.store, world.name)
        wanted = report or asked.narrows
        spent = report_of(world.store, world.name, spending, asked) if wanted or csv else None
        found = strays_of(looked, world.store.leases(), owner_id())
        warnings = warnings_of(spending, world.spec())
    if csv and spent:
        output.write_file(csv, spent.as_csv())
    shown = [row for row in spending.rows if everything or row.state.may_cost]
    entries = [lease_entry(row, spending.now) for row in shown]
    if as_json:
        document = leases_document(spending, entries, looked, found, warnings)
        output.print_json({**document, "report": spent.document()} if wanted and spent else document)
    else:
        _show(spending, entries, spent if wanted else None)
        _narrate(looked, found, warnings)


def _written(world: "World") -> "Spec | None":
    """The spec's file where the store knows of none, as after it was lost: it names hosts that may be leased."""
    from thunderctl.spec.spec import DEFAULT_PATH, load_spec

    if world.store.deployment(world.name).spec or not DEFAULT_PATH.exists():
        return None
    try:
        return load_spec(DEFAULT_PATH)
    except SpecError as error:
        output.narrate(f"Hosts and providers that {DEFAULT_PATH} names are not looked at: {error.message}")
        return None


def _forget(deployment: str, lease_id: str, *, yes: bool) -> None:
    from thunderctl.deploying.forgetting import at_stake, forget, lease_to_forget
    from thunderctl.world import open_world

    with open_world(deployment) as world:
        row = lease_to_forget(world, lease_id)
        confirm(f"Forget lease {lease_id}? {at_stake(row)}.", yes=yes)
        with world.store.lock(world.name, "leases --forget"):
            after = forget(world, lease_to_forget(world, lease_id))
        output.narrate(f"Lease {lease_id} is {after.state}: {after.reason}. {at_stake(row)}.")


def _show(spending: "Spending", entries: list[dict[str, Any]], spent: "SpendReport | None") -> None:
    columns = ("id", "instance", "provider", "state", "usd_per_hour", "spent_usd", "expires_at", "reason")
    headings = ("lease", "instance", "provider", "state", "$/h", "$ spent", "ends by", "why")
    cost, whole = spending.machines_usd_per_hour, spending.spend.usd
    if entries:
        rows = [[_cell(entry[column]) for column in columns] for entry in entries]
        title = f"Leases: ${cost:.3f}/h now, ${whole:.4f} spent"
        output.show(output.table(title, headings, rows, right=("$/h", "$ spent")))
    else:
        output.narrate(f"Nothing is leased. ${whole:.4f} was spent so far.")
    if spent is not None:
        from thunderctl.cli.tables.spend import spend_tables

        output.show(*spend_tables(spent))
    if spending.spend.unpriced_gb:
        output.narrate(f"{spending.spend.unpriced_gb:.3f} GB went over ways whose price is not known: not in the sum.")


def _narrate(looked: "Sequence[Looked]", found: "Sequence[Stray]", warnings: "Sequence[str]") -> None:
    for one in found:
        output.narrate(
            f"stray: {one.provider} {one.machine.provider_id} bears our owner id and has no lease. See: thunderctl gc"
        )
    for silent in looked:
        if silent.problem:
            output.narrate(f"not looked at: {silent.provider}: {silent.problem}")
    for warning in warnings:
        output.narrate(f"soon: {warning}")


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
