"""`thunderctl plan`: choose instances, groups, phases, parallelism and routes. It never spends."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.asking import asking_line
from thunderctl.cli.budgets import budgets_of
from thunderctl.cli.flags import with_flags
from thunderctl.cli.options import JsonOption, OffersOption, ProviderOption, SpecOption
from thunderctl.cli.planning_progress import planning_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.deployment import Plan
    from thunderctl.planning import Inputs


class GoalWord(StrEnum):
    GOODPUT = "goodput"
    COST = "cost"


GoalOption = Annotated[GoalWord, typer.Option(help="Most goodput for the budget, or least cost for --rate.")]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Also say why these offers, what binds, and how it degrades (seconds).")
]
CompareOption = Annotated[
    bool, typer.Option("--compare", help="Also say what baselines get for the same budget (half a minute).")
]


def plan(
    budget: Annotated[str | None, typer.Option(help="$/h to stay within, or a range to sweep: 5..40, 5..40:5.")] = None,
    model: Annotated[str | None, typer.Option(help="An embedded name, a folder, or a config.json.")] = None,
    dtypes: Annotated[str | None, typer.Option(help="Weight dtypes to choose the best of: bfloat16,fp8,awq.")] = None,
    workload: Annotated[str | None, typer.Option(help="coding, conversation, or a trace's CSV.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests/s to serve.")] = None,
    slo_ttft: Annotated[float | None, typer.Option(help="Target time to first token, seconds.")] = None,
    slo_tpot: Annotated[float | None, typer.Option(help="Target time per later token, seconds.")] = None,
    goal: GoalOption = GoalWord.GOODPUT,
    provider: ProviderOption = None,
    offers: OffersOption = None,
    links: Annotated[Path | None, typer.Option(help="Measured links between offers, as CSV.")] = None,
    fixed: Annotated[bool, typer.Option("--fixed", help="Rent exactly the given offers, all of them.")] = False,
    explain: ExplainOption = False,
    compare: CompareOption = False,
    out: Annotated[Path | None, typer.Option(help="Also write the plan here, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a sweep's goodput against $/h into this PNG.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulation.", min=0)] = 0,
    spec: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the offers worth renting and plan how they serve. Nothing is rented.

    Providers that --provider or the spec names are asked for their live offers; of all others, and of one that can't be
    asked, there is a dated snapshot to plan with, which `up` does not rent.

    Example: thunderctl plan --budget 14 --explain

    What more money buys: thunderctl plan --budget 5..40 --plot goodput.png

    Quantised weights allowed: thunderctl plan --budget 14 --dtypes bfloat16,fp8,awq
    """
    from thunderctl.planning import plan_inputs
    from thunderctl.spec.spec import load_spec

    budgets = budgets_of(budget) if budget is not None else ()
    wanted = with_flags(
        load_spec(spec),
        budget=max(budgets, default=None),
        model=model,
        dtypes=dtypes.split(",") if dtypes else None,
        workload=workload,
        rate=rate,
        slo_ttft=slo_ttft,
        slo_tpot=slo_tpot,
        provider=provider,
    )
    _check_flags(is_sweep=len(budgets) > 1, plot=plot, of_one_plan=bool(out or explain or compare))
    for path in filter(None, (out, plot)):
        output.check_writable(path)
    with asking_line(wanted, offers) as narrate:
        inputs = plan_inputs(
            wanted, goal=goal.value, offers=offers, links=links, fixed=fixed, seed=seed, narrate=narrate
        )
    if len(budgets) > 1:
        _sweep(inputs, budgets, plot, as_json=as_json)
    else:
        _one(inputs, explain=explain, compare=compare, out=out, as_json=as_json)


def _one(inputs: "Inputs", *, explain: bool, compare: bool, out: Path | None, as_json: bool) -> None:
    """Plan once, and show or write it."""
    import json

    from planner.advice.explain import explanation_to_json
    from planner.document import plan_to_json
    from thunderctl.cli.compare import compare_table, compared_with
    from thunderctl.cli.tables.explain import explain_tables
    from thunderctl.cli.tables.plan import plan_tables
    from thunderctl.planning import explanation_of, plan_of

    with planning_line() as (say, report):
        made = plan_of(inputs, say=say, report=report)
        why = explanation_of(inputs, made) if explain else None
        made, others = compared_with(inputs, made, say) if compare else (made, ())
    document = plan_to_json(made) | ({"explanation": explanation_to_json(why)} if why else {})
    if out:
        output.write_file(out, json.dumps(document, indent=2) + "\n")
        for line in next_steps(made, out):
            output.narrate(line)
    if as_json:
        output.print_json(document)
    else:
        output.show(*plan_tables(made), *(explain_tables(made, why) if why else ()))
        if others:
            output.show(compare_table(made, others))


def next_steps(made: "Plan", out: Path) -> "Sequence[str]":
    """What works with the file that was written: one with offers that nobody rents out is refused by `up`."""
    from planner.market import LEASABLE

    dated = sorted({one.provider for one in made.instances if not one.leasable})
    if not dated:
        return (f"Wrote {out}. Next: thunderctl up {out}",)
    asked = " ".join(f"--provider {name}" for name in dated if name in LEASABLE) or "--provider vast"
    return (
        f"Wrote {out}. Next: thunderctl simulate {out}",
        f"`up` would refuse it: its offers of {', '.join(dated)} are not live ones. Plan with live ones to rent: "
        f"thunderctl plan {asked} --out {out}",
    )


def _sweep(inputs: "Inputs", budgets: "Sequence[float]", plot: Path | None, *, as_json: bool) -> None:
    """Plan for each budget, and show what more money buys."""
    from planner.advice.frontier import frontier_to_json
    from thunderctl.cli.tables.frontier import frontier_table
    from thunderctl.planning import frontier_of
    from thunderctl.plots import frontier_figure

    with planning_line() as (say, report):
        points = frontier_of(inputs, budgets, say=say, report=report)
    if plot:
        try:
            frontier_figure(plot, points, model=inputs.llms[0].name, slo=inputs.slo)
        except OSError as error:
            raise SpecError(f"{plot} can't be written: {error.strerror}.") from error
    if as_json:
        output.print_json(frontier_to_json(points))
    else:
        output.show(frontier_table(points))


def _check_flags(*, is_sweep: bool, plot: Path | None, of_one_plan: bool) -> None:
    if plot and not is_sweep:
        raise SpecError("--plot draws a sweep; expected a range of budgets such as --budget 5..40.")
    if is_sweep and of_one_plan:
        raise SpecError("--out, --explain and --compare are of one plan; expected a single --budget with them.")
    if plot:
        from thunderctl.plots import check_picture

        check_picture(plot)
