"""`thunderctl down`: release everything, and prove it gone."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import Refused, SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, YesOption, confirm

if TYPE_CHECKING:
    from thunderctl.world import World


def down(
    context: typer.Context,
    yes: YesOption = False,
    home: Annotated[
        bool, typer.Option("--home", help="Then have the deployment live here again, not on the host it was moved to.")
    ] = False,
    host_gone: Annotated[
        bool,
        typer.Option(
            "--host-gone",
            help="The host that it, or its router, lives on is gone for good: release all from here.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the endpoint and release every machine, verified by the provider's own listing.

    Example: thunderctl down --yes
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.cli.progress import step_lines
    from thunderctl.cli.up import apply_document, ended_by, result_entry, with_hint
    from thunderctl.deploying.replacers import replacers
    from thunderctl.deploying.taking_down import take_down
    from thunderctl.world import open_world

    if home and not host_gone:  # of one that lives elsewhere, `cli/there.py` has seen to it
        raise SpecError(f"Deployment {context.obj} lives on this machine.", hint="Run it without --home.")
    if (api := there.controller()) is not None:
        there.down(api, yes=yes, as_json=as_json)
        return
    with open_world(context.obj) as world:
        agreed = _costing(world)
        if agreed or world.router.may_run:  # a question holds no lock: the controller goes on while nobody answers
            confirm(f"Stop serving and release {len(agreed)} machines?", yes=yes)
        at_work = [world.store.holder(world.name), *replacers(world.store, world.name)]
        if asyncio.run(world.controller.stop_replacing(at_work)):
            output.narrate("The controller was replacing machines; it was told to stop that.")
        with world.store.lock(world.name, "down") as held:
            leases = _agreed(world, None if yes else agreed)
            _say_what_ends(world)
            with step_lines() as (report, _):
                results = asyncio.run(held.during(take_down(world, report=report, host_gone=host_gone)))
            first = next((result.error for result in results if result.error), None)
            failure = with_hint(first, "Run `thunderctl down` again: it goes on asking.")
            if as_json:
                output.print_json(apply_document(world, [result_entry(result) for result in results], failure))
            if failure is not None:
                raise ended_by(failure, as_json=as_json)
            output.narrate(f"{world.name} is down: {len(leases)} machines released and proven gone.")


def _agreed(world: "World", agreed: frozenset[str] | None) -> frozenset[str]:
    """The leases that may cost by now. Raises Refused where some of them were not agreed on; None: all are."""
    leases = _costing(world)
    if agreed is not None and (more := leases - agreed):
        raise Refused(f"{len(more)} machines were rented meanwhile.", hint="Run it again, if they go too.")
    return leases


def _say_what_ends(world: "World") -> None:
    if requests := asyncio.run(world.router.under_way()):
        grace_s = world.router.stop_grace_s
        output.narrate(f"The router refuses new requests, and has {grace_s:g} s to finish {requests}.")


def _costing(world: "World") -> frozenset[str]:
    """The leases that may cost."""
    return frozenset(row.lease_id for row in world.store.leases(world.name) if row.state.may_cost)
