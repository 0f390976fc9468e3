"""`thunderctl status`: what runs, what it does and what it costs."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

if TYPE_CHECKING:
    from thunderctl.world import World


def status(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print one frame instead of the live screen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show instances, replicas with phase and load, routes, latencies and cost.

    Example: thunderctl status --once
    """
    from thunderctl.cli.status_tables import status_frame
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        if as_json:
            output.print_json(asyncio.run(read_status(world)))
        elif once or not sys.stdout.isatty():
            output.show(*status_frame(asyncio.run(read_status(world))))
        else:
            _live_screen(world)


def _live_screen(world: "World") -> None:
    try:
        from thunderctl.tui.app import StatusApp
    except ModuleNotFoundError as error:
        raise SpecError(
            "The live screen needs the package textual, which is not installed.",
            hint="pip install 'thunderctl[tui]', or print one frame: thunderctl status --once",
        ) from error
    StatusApp(lambda: read_status(world)).run()


async def read_status(world: "World") -> dict[str, Any]:
    """Observe the deployment and put it in the status document's form."""
    from planner.document import plan_from_json
    from thunderctl.observe import observe_once
    from thunderctl.price_rises import announced_rises
    from thunderctl.spending import spending_of, warnings_of
    from thunderctl.status import status_document

    deployment = world.store.deployment(world.name)
    plan = None
    if deployment.plan_id:
        plan = plan_from_json(world.store.plan(deployment.plan_id, world.name).document)
    seen = await observe_once(world)
    spending = spending_of(world.store, world.name)
    warnings = (*warnings_of(spending, world.spec()), *await announced_rises(world))
    report = world.controller.report()
    return status_document(deployment, plan, seen, float(spending.spend.usd), warnings, report)
