"""`thunderctl logs`: look inside."""

import asyncio
from typing import Annotated

import typer

from thunderctl.cli import completion, output


def logs(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="Replicas, instances (their agents' logs), `router`, `controller`; all without any.",
            autocompletion=completion.logs,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many lines from the end of each.", min=1)] = 100,
) -> None:
    """Print the ends of logs, across machines; with -f what is added to them as well. Several are told by their names.

    Example: thunderctl logs r0 router -f
    """
    from thunderctl.logs.following import Logs
    from thunderctl.logs.places import wanted_logs
    from thunderctl.world import open_world

    given = what or []
    with open_world(context.obj) as world:
        show = output.print_lines if len(given) != 1 else lambda _, said: output.print_lines("", said)
        wanted = Logs(world, wanted_logs(world, given), lines, show, output.narrate)
        try:
            asyncio.run(wanted.follow() if follow else wanted.read())
        except KeyboardInterrupt:
            raise typer.Exit(output.INTERRUPTED) from None
