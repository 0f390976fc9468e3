"""`thunderctl undrain`: give requests again to what was drained, as long as its machine is there."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import Refused, SpecError
from thunderctl.cli import output
from thunderctl.cli.decided import Decided, carry_out, is_pending, serving
from thunderctl.cli.options import JsonOption, YesOption
from thunderctl.cli.rebalance import as_it_is, demanded, known_to, refuse_resting

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.workload import Workload
    from thunderctl.world import World


def undrain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A replica, or an instance: then all replicas that it had.")],
    workload: Annotated[
        str,
        typer.Option(help="observed (of too few requests: the spec's), coding, conversation, or a trace's CSV."),
    ] = "observed",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and change nothing.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take back a replica or instance that was drained: phases and routes with it again, and no engine restarted.

    Its machine has to be there still: a drained one stays, and costs, until the next `up`.

    Example: thunderctl undrain i2
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.world import open_world

    if (api := there.controller()) is not None:
        body = {"instance": name, "workload": workload}
        there.rebalance(api, body, dry_run=dry_run, yes=yes, as_json=as_json, action="undrain")
        return
    with open_world(context.obj) as world:
        carry_out(world, lambda: _decided(world, name, workload), dry_run=dry_run, yes=yes, as_json=as_json)


def _decided(world: "World", name: str, workload: str) -> Decided:
    """What would be put in force now. Raises Refused where nothing can be taken back."""
    from planner.rebalance import rebalance as decide
    from thunderctl.deploying.lifecycle import refuse_unready
    from thunderctl.observing.observe import observe_once
    from thunderctl.spec.inputs import forced_codec

    current = serving(world)
    wider, back = _taken_back(world, current, name)
    refuse_resting(world, wider)
    seen = asyncio.run(observe_once(world))
    refuse_unready(wider, seen)
    known = known_to(wider, None, seen)
    demand, codec = _demand(world, wider, workload), forced_codec(world.spec())
    found = decide(wider, demand, codec=codec, links=known.links)
    now = as_it_is(current, demand, codec, known.links)
    told = f"{', '.join(back)} {'is' if len(back) == 1 else 'are'} back: the machine was never released."
    return Decided(
        current, (), replace(found, before=now, why=(told, *found.why)), known, tuple(back), is_pending(world, current)
    )


def _taken_back(world: "World", current: "Plan", name: str) -> "tuple[Plan, list[str]]":
    from planner.document import plan_from_json
    from provisioners.leases.journal import LeaseState
    from thunderctl.fleet.taking_back import with_back

    ready = [row for row in world.store.leases(world.name) if row.state is LeaseState.READY]
    earlier = (plan_from_json(one.document) for one in world.store.plans(world.name))
    wider, back = with_back(current, earlier, name, {(row.instance, row.offer_id) for row in ready})
    if back:
        return wider, back
    if name in {one.id for one in current.replicas} | {one.id for one in current.instances}:
        raise Refused(f"{name} is not drained: it is of the plan in force.", hint="See: thunderctl status")
    raise Refused(
        f"{name} can't be taken back: no earlier plan of {world.name} has it beside what serves now, "
        "over machines that are rented and ready.",
        hint="`thunderctl history` lists its plans, and `thunderctl up PLAN` leases anew what one lacks.",
    )


def _demand(world: "World", wider: "Plan", workload: str) -> "Workload":
    from thunderctl.demand import stated_workload

    try:
        return demanded(world, wider, workload, None)
    except SpecError:
        if workload != "observed":
            raise
        output.narrate("Too few requests were observed to plan by: phases are for the workload that the spec states.")
        stated, unread = stated_workload(world.spec(), wider)
        if unread:
            output.narrate(unread)
        return stated
