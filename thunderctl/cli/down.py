"""`thunderctl down`: release everything, and prove it gone."""

import asyncio

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, YesOption, confirm


def down(context: typer.Context, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Stop the endpoint and release every machine, verified by the provider's own listing.

    Example: thunderctl down --yes
    """
    from thunderctl.cli.progress import step_lines
    from thunderctl.cli.up import apply_document, ended_by, failure_of, result_entry
    from thunderctl.lifecycle import take_down
    from thunderctl.world import open_world

    with open_world(context.obj) as world, world.store.lock(world.name, "down"):
        leases = [row for row in world.store.leases(world.name) if row.state.may_cost]
        if leases or world.router.running():
            confirm(f"Stop serving and release {len(leases)} machines?", yes=yes)
        with step_lines() as (report, _):
            results = asyncio.run(take_down(world, report=report))
        failure = failure_of(results, "Run `thunderctl down` again: it goes on asking.")
        if as_json:
            output.print_json(apply_document(world, [result_entry(result) for result in results], failure))
        if failure is not None:
            raise ended_by(failure, as_json=as_json)
        output.narrate(f"{world.name} is down: {len(leases)} machines released and proven gone.")
