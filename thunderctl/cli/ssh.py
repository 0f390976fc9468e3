"""`thunderctl ssh`: a shell on an instance, or a command there."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from thunderctl.cli.completion import instances

if TYPE_CHECKING:
    from thunderctl.world import World


def ssh(
    context: typer.Context,
    instance: Annotated[str, typer.Argument(help="An instance, such as i0.", autocompletion=instances)],
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this there, behind `--`; its exit code is this command's.")
    ] = None,
) -> None:
    """Open a shell on an instance, in its folder; or run a command there.

    By the system's `ssh`, with the key and the pinned host key that all commands go by. On a machine of the local
    provider it is a shell of this host.

    Example: thunderctl ssh i0 -- tail -n 20 logs/agent.log
    """
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        program = asyncio.run(_program(world, instance, command or []))
    sys.stdout.flush()
    os.execvp(program[0], program)


async def _program(world: "World", instance: str, words: list[str]) -> list[str]:
    from thunderctl.hosts.shells import shell_command
    from thunderctl.observing.leased_machines import costing, leased_machines, named

    (leased,) = await leased_machines(world, [named(costing(world), instance)])
    return await shell_command(world, leased, words, terminal=sys.stdin.isatty() and sys.stdout.isatty())
