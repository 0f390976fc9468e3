"""Commands for a controller elsewhere (`THUNDER_API_URL`): asked over its API, and shown as here."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from planner.errors import HostError, Incomplete, SpecError
from thunderctl.cli import output
from thunderctl.cli.following import follow_entries
from thunderctl.cli.options import confirm

if TYPE_CHECKING:
    from thunderctl.api.client import Api

HERE_ONLY = ("bench", "copy-store", "gc", "keys", "logs", "ssh")
"""Commands that act on the machine where the controller runs, or by what it alone knows."""
MOST_EVENTS = 1000


def controller() -> "Api | None":
    """The one that the environment names; None where commands act on this machine's own. Raises SpecError."""
    if not os.environ.get("THUNDER_API_URL"):
        return None
    from thunderctl.api.client import elsewhere

    return elsewhere()


def refuse_here_only(command: str | None) -> None:
    """Raise SpecError for what would act on this host's own deployment, while another's controller is meant."""
    if command in HERE_ONLY and (api := controller()) is not None:
        raise SpecError(
            f"`thunderctl {command}` acts on the machine where the controller runs, and THUNDER_API_URL names "
            f"{api.url}.",
            hint="Run it there, or unset THUNDER_API_URL to act on this machine's own.",
        )


def refuse_options(**given: object) -> None:
    """Raise SpecError for options that a controller elsewhere is not asked with, such as files of this machine."""
    if named := [name.replace("_", "-") for name, value in given.items() if value]:
        raise SpecError(
            f"--{named[0]} can't be given for a controller elsewhere (THUNDER_API_URL): it is of this machine.",
            hint="Run the command where the controller runs.",
        )


def show_status(api: "Api", *, as_json: bool) -> None:
    from thunderctl.cli.tables.status import status_frame

    document = api.get("/api/v1/status")
    if as_json:
        output.print_json(document)
    else:
        output.show(*status_frame(document))


def show_history(api: "Api", *, as_json: bool) -> None:
    document = api.get("/api/v1/history")
    if as_json:
        output.print_json(document)
        return
    columns = ("plan", "made at", "in force since", "requests/s", "$/h", "")
    names = ("plan_id", "created_at", "in_force_since", "goodput_rps", "cost_usd_per_hour", "state")
    output.show(output.table("Plans", columns, _cells(document["plans"], names), right=("requests/s", "$/h")))


def show_leases(api: "Api", *, as_json: bool) -> None:
    document = api.get("/api/v1/leases")
    if as_json:
        output.print_json(document)
        return
    columns = ("lease", "instance", "provider", "state", "$/h", "$ spent", "ends by", "why")
    names = ("id", "instance", "provider", "state", "usd_per_hour", "spent_usd", "expires_at", "reason")
    title = f"Leases: ${document['usd_per_hour']:.3f}/h now, ${document['spent_usd']:.4f} spent"
    output.show(output.table(title, columns, _cells(document["leases"], names), right=("$/h", "$ spent")))
    for warning in document["warnings"]:
        output.narrate(f"soon: {warning}")


def show_events(api: "Api", *, limit: int, since_at: float, kinds: Sequence[str], follow: bool, as_json: bool) -> None:
    """As `events` does, at most a thousand at a time; with `follow` until Ctrl-C."""
    found = _events(api, since=since_at, kind=list(kinds), limit=min(limit, MOST_EVENTS))
    if not follow:
        if as_json:
            output.print_json({"schema": "thunder.events/v1", "events": found})
        else:
            output.show(output.table("Events", ("at", "kind", "what"), _cells(found, ("at", "kind", "message"))))
        return
    follow_entries(
        found,
        lambda last: _events(api, after=last, since=since_at, kind=list(kinds), limit=MOST_EVENTS),
        passes=HostError,
        as_json=as_json,
    )


def rebalance(
    api: "Api", body: Mapping[str, Any], *, dry_run: bool, yes: bool, as_json: bool, action: str = "rebalance"
) -> None:
    """Preview it, ask, and have it done; so is `action` that changes phases and routes too."""
    preview = api.post(f"/api/v1/{action}", {**body, "dry_run": True})
    if not as_json:
        output.show(
            output.table("Flips", ("replica", "from", "to"), _cells(preview["flips"], ("replica", "from", "to")))
        )
        names = ("prefill", "decode", "share", "codec")
        output.show(output.table("Routes", names, _cells(preview["routes"], names)))
    if dry_run:
        if as_json:
            output.print_json(preview)
        return
    confirm("Put these phases and routes in force?", yes=yes)
    _carry_out(api, action, body, as_json=as_json)


def up(api: "Api", body: Mapping[str, Any], *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Show the steps, ask, and have them done: also where a preview can't tell yet what a longer look will."""
    try:
        preview = api.post("/api/v1/up", {**body, "dry_run": True})
    except Incomplete as error:
        if dry_run:
            raise
        output.narrate(f"{error.message} Which steps are left is known once that is.")
        confirm("Wait for that, and spend what is left to do, within the deployment's budget?", yes=yes)
        _carry_out(api, "up", body, as_json=as_json)
        return
    if dry_run and as_json:
        output.print_json(preview)
        return
    if not as_json:
        names = ("what", "id", "detail")
        output.show(output.table("Steps", ("step", "of", "detail"), _cells(preview["steps"], names)))
    if not dry_run:
        if preview["steps"] or body.get("max_hours"):
            confirm("Spend what these cost, within the deployment's budget?", yes=yes)
        _carry_out(api, "up", body, as_json=as_json)


def down(api: "Api", *, yes: bool, as_json: bool) -> None:
    """Ask, and have everything released; the controller ends with it."""
    leased = api.get("/api/v1/leases")["leases"]
    confirm(f"Stop serving and release {len(leased)} machines?", yes=yes)
    _carry_out(api, "down", {}, as_json=as_json)


def _carry_out(api: "Api", action: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    from thunderctl.api.client import ENDING, error_of

    job = api.change(action, body, output.narrate)
    if job["state"] == ENDING:
        output.narrate("Every machine is released and proven gone; the controller there ends.")
    if as_json:
        output.print_json(job["result"] or job)
    if job["exit_code"]:
        if as_json and job["result"]:
            raise typer.Exit(job["exit_code"])
        raise error_of(
            (job["result"] or {}).get("error"), f"The {action} failed there: it ended with {job['exit_code']}."
        )


def _events(api: "Api", **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/api/v1/events", **query)["events"]
    return found


def _cells(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        yield tuple(_cell(entry.get(name)) for name in names)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
