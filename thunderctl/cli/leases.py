"""`thunderctl leases`: what is rented, what it costs and has cost, and what no lease stands for."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, YesOption, confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.leases.journal import LeaseRow
    from thunderctl.spending import Spending
    from thunderctl.strays import Looked, Stray


def leases(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="The ended ones too.")] = False,
    report: Annotated[bool, typer.Option("--report", help="What was spent: by lease, by hour, by way.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write what was spent there: a line for each lease and hour.")
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option("--forget", metavar="LEASE", help="Write this one off, which nobody can prove gone any more."),
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """List what is rented and what it costs and has cost.

    Example: thunderctl leases --report
    """
    if forget is not None:
        _forget(context.obj, forget, yes=yes)
    from thunderctl.home import owner_id
    from thunderctl.spending import as_csv, spending_of, warnings_of
    from thunderctl.strays import look_around, strays_of
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        looked = asyncio.run(look_around(world))
        spending = spending_of(world.store, world.name)
        found = strays_of(looked, world.store.leases(), owner_id())
        warnings = warnings_of(spending, world.spec())
    if csv is not None:
        output.write_file(csv, as_csv(spending))
    shown = [row for row in spending.rows if everything or row.state.may_cost]
    entries = [_entry(row, spending.now) for row in shown]
    if as_json:
        output.print_json(_document(spending, entries, looked, found, warnings))
    else:
        _show(spending, entries, report=report)
        _narrate(looked, found, warnings)


def _forget(deployment: str, lease_id: str, *, yes: bool) -> None:
    from thunderctl.forgetting import at_stake, forget, lease_to_forget
    from thunderctl.world import open_world

    with open_world(deployment) as world:
        row = lease_to_forget(world, lease_id)
        confirm(f"Forget lease {lease_id}? {at_stake(row)}.", yes=yes)
        with world.store.lock(world.name, "leases --forget"):
            after = forget(world, lease_to_forget(world, lease_id))
        output.narrate(f"Lease {lease_id} is {after.state}: {after.reason}. {at_stake(row)}.")


def _document(
    spending: "Spending",
    entries: list[dict[str, Any]],
    looked: "Sequence[Looked]",
    found: "Sequence[Stray]",
    warnings: "Sequence[str]",
) -> dict[str, Any]:
    spend = spending.spend
    return {
        "schema": "thunder.leases/v1",
        "leases": entries,
        "usd_per_hour": _rounded(spending.machines_usd_per_hour),
        "transfer_usd_per_hour": _rounded(spending.transfer_usd_per_hour),
        "spent_usd": _rounded(spend.usd),
        "machines_usd": _rounded(spend.machines_usd),
        "transfer_usd": _rounded(spend.transfer_usd),
        "unpriced_transfer_gb": _rounded(spend.unpriced_gb),
        "hours": [
            {
                "hour": _rfc3339(hour.at),
                "machines_usd": _rounded(hour.machines_usd),
                "transfer_usd": _rounded(hour.transfer_usd),
                "gb": _rounded(hour.gb),
            }
            for hour in spending.hours
        ],
        "strays": [_stray(one) for one in found],
        "sources": [{"provider": one.provider, "ok": not one.problem, "error": one.problem} for one in looked],
        "warnings": list(warnings),
    }


def _show(spending: "Spending", entries: list[dict[str, Any]], *, report: bool) -> None:
    from thunderctl.cli.spend_tables import spend_tables

    columns = ("id", "instance", "provider", "state", "usd_per_hour", "spent_usd", "expires_at", "reason")
    headings = ("lease", "instance", "provider", "state", "$/h", "$ spent", "ends by", "why")
    cost, spent = spending.machines_usd_per_hour, spending.spend.usd
    if entries:
        rows = [[_cell(entry[column]) for column in columns] for entry in entries]
        title = f"Leases: ${cost:.3f}/h now, ${spent:.4f} spent"
        output.show(output.table(title, headings, rows, right=("$/h", "$ spent")))
    else:
        output.narrate(f"Nothing is leased. ${spent:.4f} was spent so far.")
    if report:
        output.show(*spend_tables(spending))
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


def _entry(row: "LeaseRow", now: float) -> dict[str, Any]:
    from provisioners.leases.ledger import lease_spent_usd

    return {
        "id": row.lease_id,
        "instance": row.instance,
        "provider": row.provider,
        "provider_id": row.provider_id,
        "state": row.state,
        "usd_per_hour": row.usd_per_hour if row.state.may_cost else 0.0,
        "spent_usd": _rounded(lease_spent_usd(row, now)),
        "created_at": _rfc3339(row.created_at),
        "expires_at": _rfc3339(row.expires_at) if row.expires_at else None,
        "prices": [{"since": _rfc3339(price.since), "usd_per_hour": float(price.usd_per_hour)} for price in row.prices],
        "reason": row.reason,
    }


def _stray(stray: "Stray") -> dict[str, Any]:
    machine = stray.machine
    found = {"provider": stray.provider, "provider_id": machine.provider_id, "usd_per_hour": machine.usd_per_hour}
    return {**found, "action": "none"}


def _rounded(amount: Any) -> float:
    return round(float(amount), 6)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
