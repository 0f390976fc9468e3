"""`thunderctl plan`: choose instances, groups, phases, parallelism and routes. It never spends."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption, SpecOption

if TYPE_CHECKING:
    from thunderctl.spec import Spec


class GoalWord(StrEnum):
    GOODPUT = "goodput"
    COST = "cost"


def plan(
    budget: Annotated[float | None, typer.Option(help="$/h to stay within.")] = None,
    model: Annotated[str | None, typer.Option(help="An embedded name, a folder, or a config.json.")] = None,
    workload: Annotated[str | None, typer.Option(help="coding, conversation, or a trace's CSV.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests/s to serve.")] = None,
    slo_ttft: Annotated[float | None, typer.Option(help="Target time to first token, seconds.")] = None,
    slo_tpot: Annotated[float | None, typer.Option(help="Target time per later token, seconds.")] = None,
    goal: Annotated[GoalWord, typer.Option(help="Most goodput for the budget, or least cost for --rate.")] = (
        GoalWord.GOODPUT
    ),
    provider: Annotated[list[str] | None, typer.Option(help="Rent only from these (repeat it).")] = None,
    offers: Annotated[Path | None, typer.Option(help="Offers to choose from, as CSV.")] = None,
    links: Annotated[Path | None, typer.Option(help="Measured links between offers, as CSV.")] = None,
    fixed: Annotated[bool, typer.Option("--fixed", help="Rent exactly the given offers, all of them.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the plan here, as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulation.", min=0)] = 0,
    spec: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the offers worth renting and plan how they serve. Nothing is rented.

    Example: thunderctl plan --budget 14
    """
    import json

    from planner.document import plan_to_json
    from thunderctl.cli.plan_tables import plan_tables
    from thunderctl.compose import make_plan
    from thunderctl.spec import load_spec

    wanted = with_flags(
        load_spec(spec),
        budget=budget,
        model=model,
        workload=workload,
        rate=rate,
        slo_ttft=slo_ttft,
        slo_tpot=slo_tpot,
        provider=provider,
    )
    made = make_plan(wanted, goal=goal.value, offers=offers, links=links, fixed=fixed, seed=seed)
    document = plan_to_json(made)
    if out:
        output.write_file(out, json.dumps(document, indent=2) + "\n")
        output.narrate(f"Wrote {out}. Next: thunderctl up {out}")
    if as_json:
        output.print_json(document)
    else:
        output.show(*plan_tables(made))


def with_flags(
    spec: "Spec",
    *,
    budget: float | None = None,
    model: str | None = None,
    workload: str | None = None,
    rate: float | None = None,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
    provider: list[str] | None = None,
) -> "Spec":
    """The spec with a command's flags over it, checked like the file itself."""
    from thunderctl.spec import override_spec

    flags: dict[str, dict[str, dict[str, object]]] = {
        "--budget": {"budget": {"usd_per_hour": budget}},
        "--model": {"model": {"name": model}},
        "--workload": {"workload": _workload_keys(workload)},
        "--rate": {"workload": {"rate_rps": rate}},
        "--slo-ttft": {"slo": {"ttft_s": slo_ttft}},
        "--slo-tpot": {"slo": {"tpot_s": slo_tpot}},
        "--provider": {"markets": {"providers": provider}},
    }
    return override_spec(spec, flags)


def _workload_keys(workload: str | None) -> dict[str, object]:
    if workload is None or workload in ("coding", "conversation"):
        return {"preset": workload, "trace": None if workload is None else ""}
    if not Path(workload).is_file():
        raise SpecError(f"--workload is {workload!r}; expected coding, conversation, or a CSV file that is there.")
    return {"trace": workload}
