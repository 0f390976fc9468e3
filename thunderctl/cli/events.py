"""`thunderctl events`: what happened to a deployment, and what happens."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Any

import typer

from planner.errors import SpecError, ThunderError
from thunderctl.cli import completion, output
from thunderctl.cli.following import follow_entries
from thunderctl.cli.options import JsonOption
from thunderctl.status.documents.events import entry, events_document, rfc3339

AT_ONCE = 1000
"""Events read in one look; what is more comes with the next one."""
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(help="How many, counted from the latest.", min=1)] = 50,
    since: Annotated[
        str | None, typer.Option(help="From then on: 30m, 2h, 7d ago, or a time such as 2027-01-31T20:00.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only such: step.lease, or step for all of them.", autocompletion=completion.event_kinds),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to the deployment, oldest first; with -f also what happens, a line (or JSON object) each.

    Example: thunderctl events -f --kind controller --since 2h
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.store.store import Store

    since_at = moment(since, time.time()) if since else 0.0
    if (api := there.controller()) is not None:
        there.show_events(api, limit=limit, since_at=since_at, kinds=kind or (), follow=follow, as_json=as_json)
        return
    with Store() as store:
        kinds = kind or ()
        found = store.events_where(context.obj, since=since_at, kinds=kinds, limit=limit)
        if follow:

            def after(last: int) -> list[dict[str, Any]]:
                read = store.events_where(context.obj, after_id=last, since=since_at, kinds=kinds, limit=AT_ONCE)
                return list(map(entry, read))

            follow_entries(list(map(entry, found)), after, passes=ThunderError, as_json=as_json)
        elif as_json:
            output.print_json(events_document(found))
        elif not found:
            output.narrate("No events are like that." if since or kind else "Nothing has happened yet.")
        else:
            shown = ((rfc3339(event.at), event.kind, event.message) for event in found)
            output.show(output.table("Events", ("at", "kind", "what"), shown))


def moment(text: str, now: float, *, tz: tzinfo = UTC, option: str = "--since") -> float:
    """`30m`, `2h`, `7d` before now, or a time (`tz` unless it says) → seconds since the epoch. Raises SpecError."""
    try:
        if text[-1:] in UNITS and text[:-1].isdecimal():
            return now - timedelta(**{UNITS[text[-1]]: int(text[:-1])}).total_seconds()
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=tz)).timestamp()
    except (ValueError, OverflowError) as error:
        raise SpecError(f"{option} is {text!r}; expected such as 30m, 2h, 7d, 2027-01-31T20:00.") from error
