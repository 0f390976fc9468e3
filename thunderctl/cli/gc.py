"""`thunderctl gc`: machines that no lease stands for, at every provider that may have some."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import Incomplete, SpecError, ThunderError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption, YesOption, confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thunderctl.deploying.strays import Looked, Stray
    from thunderctl.spec.spec import Spec
    from thunderctl.world import World


def gc(
    context: typer.Context,
    delete: Annotated[bool, typer.Option("--delete", help="Release them, and prove them gone.")] = False,
    owner: Annotated[
        str | None, typer.Option(help="Of this owner id: one whose store is lost (`up` prints the id).")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Whatever bears a label of thunderctl's, whoever owns it: report only.")
    ] = False,
    yes: YesOption = False,
    spec: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find machines that bear our owner id and that no lease stands for; report them, or release them with --delete.

    Asked is every provider of which there is a key, a lease, or a line in the spec. One that can't be asked is named,
    and the exit code is 5: there may be more.

    Example: thunderctl gc --delete
    """
    from thunderctl.deploying.strays import all_of_ours, look_around, strays_of
    from thunderctl.home import owner_id
    from thunderctl.world import open_world

    if everybody and (delete or owner):
        raise SpecError("--all only reports.", hint="Name whose machines are meant: gc --owner ID --delete")
    with open_world(context.obj) as world:
        world.written = _spec_of(world, spec)
        whose = owner or owner_id()
        looked = asyncio.run(look_around(world))
        found = all_of_ours(looked) if everybody else strays_of(looked, world.store.leases(), whose)
        failure = _release(world, found, whose, yes=yes) if delete else None
        entries = [_entry(world, one, delete=delete) for one in found]
    failure = failure or _not_asked(looked)
    _show(entries, looked, as_json=as_json, failure=failure)
    if failure is not None:
        raise typer.Exit(failure.exit_code) if as_json else failure


def _release(world: "World", found: "Sequence[Stray]", whose: str, *, yes: bool) -> ThunderError | None:
    from thunderctl.deploying.deploy import pace_of
    from thunderctl.deploying.strays import release_strays

    if found:
        cost = sum(one.machine.usd_per_hour for one in found)
        confirm(f"Release {len(found)} machines (${cost:.3f} an hour)?", yes=yes)
    try:
        asyncio.run(release_strays(world, found, whose, pace_of(world.written or world.spec())))
    except ThunderError as error:
        return error
    return None


def _spec_of(world: "World", path: Path | None) -> "Spec":
    """The written one, which names hosts and providers even where the store is lost, else the deployment's."""
    from thunderctl.spec.spec import DEFAULT_PATH, load_spec

    return load_spec(path) if path or DEFAULT_PATH.exists() else world.spec()


def _not_asked(looked: "Sequence[Looked]") -> Incomplete | None:
    silent = [f"{one.provider}: {one.problem.rstrip('.')}" for one in looked if one.problem]
    if not silent:
        return None
    return Incomplete(
        f"What some providers have is not known. {'; '.join(silent)}.", hint="Machines may run there. Run gc again."
    )


def _entry(world: "World", stray: "Stray", *, delete: bool) -> dict[str, Any]:
    from thunderctl.deploying.strays import age_s, gone

    return {
        "provider": stray.provider,
        "provider_id": stray.machine.provider_id,
        "usd_per_hour": stray.machine.usd_per_hour,
        "owner": stray.label.owner_id,
        "deployment": stray.label.deployment,
        "age_s": age_s(stray.machine),
        "action": "reported" if not delete else "released" if gone(world, stray) else "left",
    }


def _show(
    entries: list[dict[str, Any]], looked: "Sequence[Looked]", *, as_json: bool, failure: ThunderError | None
) -> None:
    asked = [{"provider": one.provider, "ok": not one.problem, "error": one.problem} for one in looked]
    if as_json:
        error = {"error": output.error_entry(failure)} if failure else {}
        output.print_json({**error, "schema": "thunder.gc/v1", "strays": entries, "sources": asked})
    elif entries:
        output.show(output.table("Strays", COLUMNS, [_row(entry) for entry in entries], right=("$/h", "hours")))
    else:
        names = ", ".join(one.provider for one in looked if not one.problem) or "nobody"
        output.narrate(f"No strays at {names}.")


COLUMNS = ("provider", "machine", "$/h", "hours", "deployment", "owner", "")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    hours = "?" if entry["age_s"] is None else f"{entry['age_s'] / 3600:.1f}"
    price = f"{entry['usd_per_hour']:.3f}"
    return entry["provider"], entry["provider_id"], price, hours, entry["deployment"], entry["owner"], entry["action"]
