"""`thunderctl status`: what runs, what it does and what it costs."""

import asyncio
import sys
from types import ModuleType
from typing import Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

ABSENT = "absent"
NEXT = "Nothing is up. Next: thunderctl plan --out plan.json"


def status(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print one frame instead of the live screen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show instances, replicas with phase and load, routes, latencies and cost.

    Example: thunderctl status --once
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.cli.tables.status import status_frame
    from thunderctl.status.status_reading import read_status
    from thunderctl.world import open_world

    live = not as_json and not once and sys.stdout.isatty()
    if (api := there.controller()) is not None:
        if live:
            _screen().open_screen_over(api)
        else:
            there.show_status(api, as_json=as_json)
        return
    with open_world(context.obj) as world:
        if as_json:
            output.print_json(asyncio.run(read_status(world)))
        elif live:
            _screen().open_screen(world)
        else:
            document = asyncio.run(read_status(world))
            output.show(*status_frame(document))
            if document["state"] == ABSENT:
                output.narrate(NEXT)


def _screen() -> ModuleType:
    """What opens the live screen. Raises SpecError where its package is missing."""
    try:
        from thunderctl.tui import opening
    except ModuleNotFoundError as error:
        raise SpecError(
            "The live screen needs the package textual, which is not installed.",
            hint="In a checkout of thunderctl: pip install '.[tui]'; or print one frame: thunderctl status --once",
        ) from error
    return opening
