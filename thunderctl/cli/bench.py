"""`thunderctl bench`: load the endpoint, and show what it does beside what the plan predicted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thunderctl.cli import output
from thunderctl.cli.options import JsonOption
from thunderctl.cli.stream import Stream, asked_requests

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.workload import Workload
    from thunderctl.world import World


def bench(
    context: typer.Context,
    rate: Annotated[float | None, typer.Option(help="Requests/s; the plan's own unless given.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of arrivals (default 120).", min=1)] = None,
    workload: Annotated[str | None, typer.Option(help="coding, conversation, or a trace's CSV; lengths only.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Replay this trace as it is, arrivals too.")] = None,
    api_key: Annotated[
        str, typer.Option(envvar="OPENAI_API_KEY", help="A client key, for an endpoint that asks for one.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of arrivals and lengths.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Load the endpoint as clients would, and report what it did beside what the plan predicted.

    Requests come at their times whether others were answered or not (open loop), are streamed, and count from when they
    were due. It is real load, beside that of real clients. Ctrl-C reports what was measured so far.

    Example: thunderctl bench --rate 4 --duration 60
    """
    from thunderctl.bench.report import bench_json, simulated
    from thunderctl.bench.running import run_load, serving_plan
    from thunderctl.cli.tables.bench import asides, bench_table, watched
    from thunderctl.secrets import Secret
    from thunderctl.world import open_world

    with open_world(context.obj) as world:
        plan = serving_plan(world)
        stream = Stream(workload, rate, duration, None, None, trace, seed)
        asked = asked_requests(plan, stream, lambda: _stated(world, plan))
        run = run_load(world, plan, asked, Secret(api_key), seed=seed, watched=watched)
    expected = simulated(run)
    if as_json:
        output.print_json(bench_json(run, expected))
    else:
        output.show(bench_table(run, expected), *asides(run))
    if run.interrupted:
        raise typer.Exit(output.INTERRUPTED)


def _stated(world: "World", plan: "Plan") -> "Workload":
    """What the spec says is coming: a plan that a rebalance made for what was observed keeps only means of that."""
    from thunderctl.demand import stated_workload

    stated, unread = stated_workload(world.spec(), plan)
    output.narrate(f"The plan in force was made for {plan.workload.name}, whose lengths it does not hold.")
    output.narrate(unread or f"These requests are as long as {stated.name}, which the spec states.")
    return stated
