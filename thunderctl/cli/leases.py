"""`thunderctl leases` and `thunderctl gc`: what is rented, what it costs, and machines that no lease stands for."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

if TYPE_CHECKING:
    from provisioners.base import Machine
    from provisioners.leases.journal import LeaseRow
    from thunderctl.world import World

PROVIDERS = ("local", "ssh")
"""Those this version can rent from, so those where strays can be."""


def leases(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="The ended ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what is rented and what it costs and has cost.

    Example: thunderctl leases
    """
    from provisioners.leases.ledger import spent_usd, usd_per_hour
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        rows, now = world.store.leases(world.name), time.time()
        found = asyncio.run(find_strays(world))
    shown = [row for row in rows if everything or row.state.may_cost]
    entries = [_entry(row, now) for row in shown]
    cost, spent = usd_per_hour(rows), spent_usd(rows, now)
    if as_json:
        strays = [_stray(provider, machine, "none") for provider, machine in found]
        document = {
            "schema": "thunder.leases/v1",
            "leases": entries,
            "usd_per_hour": cost,
            "spent_usd": round(spent, 6),
        }
        output.print_json({**document, "strays": strays})
        return
    columns = ("id", "instance", "provider", "state", "usd_per_hour", "spent_usd", "expires_at", "reason")
    table_rows = [[_cell(entry[column]) for column in columns] for entry in entries]
    headings = ("lease", "instance", "provider", "state", "$/h", "$ spent", "ends by", "why")
    title = f"Leases: ${cost:.3f}/h now, ${spent:.4f} spent"
    if table_rows:
        output.show(output.table(title, headings, table_rows, right=("$/h", "$ spent")))
    else:
        output.narrate(f"Nothing is leased. ${spent:.4f} was spent so far.")
    for provider, machine in found:
        output.narrate(
            f"stray: {provider} {machine.provider_id} bears our owner id and has no lease. See: thunderctl gc"
        )


def gc(
    context: typer.Context,
    delete: Annotated[bool, typer.Option("--delete", help="Release the strays.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find machines that bear our owner id and that no lease stands for; report them, or release them with --delete.

    Example: thunderctl gc --delete
    """
    from thunderctl.world import open_world

    with open_world(context.obj) as world, world.store.lock(world.name, "gc"):
        found = asyncio.run(find_strays(world))
        if delete:
            asyncio.run(_release(world, found))
    action = "released" if delete else "reported"
    if as_json:
        strays = [_stray(provider, machine, action) for provider, machine in found]
        output.print_json({"schema": "thunder.gc/v1", "strays": strays})
        return
    rows = [(p, m.provider_id, f"{m.usd_per_hour:.3f}", m.label, action) for p, m in found]
    if rows:
        output.show(output.table("Strays", ("provider", "machine", "$/h", "label", ""), rows, right=("$/h",)))
    else:
        output.narrate("No strays: every machine with our owner id has a lease.")


async def find_strays(world: "World") -> "list[tuple[str, Machine]]":
    """Machines of our owner id without a lease of any deployment, by provider."""
    from provisioners.leases.observe import strays
    from thunderctl.home import owner_id

    found = []
    for provider in PROVIDERS:
        listing = await world.provisioner(provider).observe()  # listed first, so that what is made meanwhile has a row
        rows = [row for row in world.store.leases() if row.provider == provider]
        found += [(provider, machine) for machine in strays(listing.machines, rows, owner_id())]
    return found


async def _release(world: "World", found: "list[tuple[str, Machine]]") -> None:
    for provider, machine in found:
        await world.provisioner(provider).release(machine.provider_id)
        world.store.record(world.name, "gc", f"released the stray {machine.provider_id} of {provider}")


def _entry(row: "LeaseRow", now: float) -> dict[str, Any]:
    from provisioners.leases.ledger import lease_spent_usd

    return {
        "id": row.lease_id,
        "instance": row.instance,
        "provider": row.provider,
        "provider_id": row.provider_id,
        "state": row.state,
        "usd_per_hour": row.usd_per_hour if row.state.may_cost else 0.0,
        "spent_usd": round(lease_spent_usd(row, now), 6),
        "created_at": _rfc3339(row.created_at),
        "expires_at": _rfc3339(row.expires_at) if row.expires_at else None,
        "reason": row.reason,
    }


def _stray(provider: str, machine: "Machine", action: str) -> dict[str, Any]:
    found = {"provider": provider, "provider_id": machine.provider_id, "usd_per_hour": machine.usd_per_hour}
    return {**found, "action": action}


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
