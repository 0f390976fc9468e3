"""`thunderctl logs`: look inside."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output

if TYPE_CHECKING:
    from thunderctl.world import World


def logs(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A replica, an instance (its agent's log), or `router`.")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many lines from the end.", min=1)] = 100,
) -> None:
    """Print the end of a log.

    Example: thunderctl logs r0
    """
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        output.print_text(asyncio.run(_log(world, what, lines)))


async def _log(world: "World", what: str, lines: int) -> str:
    from runtime.tls import client_context
    from thunderctl.agents import Agents
    from thunderctl.lifecycle import plan_in_force
    from thunderctl.observe import observe

    if what == "router":
        path = world.router.folder / "router.log"
        return _tail(path.read_bytes() if path.exists() else b"", lines)
    async with Agents(client_context(world.operator_tls)) as agents:
        seen = await observe(world, agents)
        for view in seen.instances:
            if view.lease.instance == what and view.machine:
                transport = world.provisioner(view.lease.provider).transport(view.machine)
                return _tail(await transport.get("logs/agent.log"), lines)
            if view.agent and any(engine.replica == what for engine in view.engines):
                return await view.agent.log(what, lines)
    plan = plan_in_force(world)
    hosts = {replica.id: replica.instances[0] for replica in plan.replicas} if plan else {}
    for view in seen.instances:
        if view.machine and view.lease.instance == hosts.get(what):  # its agent is silent: read the file itself
            transport = world.provisioner(view.lease.provider).transport(view.machine)
            return _tail(await transport.get(f"logs/{what}.log"), lines)
    known = [engine.replica for view in seen.instances for engine in view.engines]
    known += [view.lease.instance for view in seen.instances]
    raise SpecError(f"Nothing here is called {what!r}; expected one of {', '.join([*known, 'router'])}.")


def _tail(content: bytes, lines: int) -> str:
    return "\n".join(content.decode(errors="replace").splitlines()[-lines:])
