"""`thunderctl up`: rent, prepare and start what a plan says, and serve it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.errors import Incomplete, Refused, ThunderError
from thunderctl.cli import output
from thunderctl.cli.intended import Intended, intended
from thunderctl.cli.options import JsonOption, SpecOption, YesOption, confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.deployment import Plan
    from planner.reconcile import Step
    from thunderctl.deploying.apply import StepResult
    from thunderctl.spec.spec import Spec
    from thunderctl.store.locks import Held
    from thunderctl.world import World

APPLY_SCHEMA = "thunder.apply/v1"


def up(
    context: typer.Context,
    plan: Annotated[str | None, typer.Argument(help="A plan's file, or the id of an earlier one.")] = None,
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the steps and do nothing.")] = False,
    max_hours: Annotated[
        float | None,
        typer.Option(
            help="Every lease, of what runs too, ends after so many hours; an hour ahead you are warned.", min=0.01
        ),
    ] = None,
    spec: SpecOption = None,
    as_json: JsonOption = False,
    replacing: Annotated[bool, typer.Option("--replacing", hidden=True)] = False,
    only: Annotated[list[str] | None, typer.Option(help="An instance of the plan.", hidden=True)] = None,
    until: Annotated[float | None, typer.Option(help="When leases end, Unix time.", hidden=True)] = None,
) -> None:
    """Make the plan so: rent, prepare, start, route. Run again it resumes, or does nothing.

    Without PLAN it goes on with the deployment's own plan, or makes one from the spec. It shows what it will cost and
    asks, unless --yes.

    Example: thunderctl up plan.json
    """
    from thunderctl.cli import elsewhere as there
    from thunderctl.cli.replacing import replace_lost
    from thunderctl.world import open_world

    if (api := there.controller()) is not None:
        there.refuse_options(spec=spec)
        there.up(api, {"plan_id": plan, "max_hours": max_hours}, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    with open_world(context.obj) as world:
        if replacing:
            replace_lost(world, only or (), max_hours, until, as_json=as_json)
            return
        agreed: Intended | None = None
        while True:
            with world.store.lock(world.name, "up") as held:
                found = intended(world, plan, spec, agreed, max_hours, dry_run=dry_run)
                renewed_h = max_hours if _runs(world) else None
                if dry_run or not (found.steps or renewed_h):
                    _show_nothing_done(world, found, dry_run=dry_run, as_json=as_json)
                    return
                if not found.is_within(agreed):
                    _show_intended(world, found, renewed_h, as_json=as_json)
                if yes or found.is_within(agreed):
                    _carry_out(world, held, found, max_hours, renewed_h, as_json=as_json)
                    return
            confirm(_question(found.wanted), yes=yes)  # it holds no lock: the controller goes on while nobody answers
            agreed = found


def _carry_out(
    world: "World",
    held: "Held",
    found: Intended,
    max_hours: float | None,
    renewed_h: float | None,
    *,
    as_json: bool,
) -> None:
    from thunderctl.deploying.replacers import replacers
    from thunderctl.deploying.wanted_again import go_on
    from thunderctl.store.this_host import this_host

    if asyncio.run(world.controller.stop_replacing(replacers(world.store, world.name))):
        output.narrate("The controller was replacing machines; this goes on with it.")
    if elsewhere := [one.host for one in replacers(world.store, world.name) if one.host != this_host()]:
        raise Refused(
            f"The controller on {elsewhere[0]} is replacing machines.", hint="Run the command again when it has ended."
        )
    asyncio.run(world.look_after())
    go_on(world, found.written, found.resting, is_whole=not found.steps)
    unrenewed = _renew(world, held, renewed_h) if renewed_h else None
    results, failure = _bring_up(world, held, found, max_hours) if found.steps else ((), None)
    failure = with_hint(failure, hint_for(world)) or unrenewed
    show_outcome(world, [result_entry(result) for result in results], as_json=as_json, failure=failure)
    if failure is not None:
        raise ended_by(failure, as_json=as_json)


def _runs(world: "World") -> bool:
    return any(row.state.runs for row in world.store.leases(world.name))


def _renew(world: "World", held: "Held", hours: float) -> ThunderError | None:
    """Why some machines could not be given another end, once all were told; those are named."""
    from thunderctl.deploying.renewal import renew

    try:
        asyncio.run(held.during(renew(world, hours)))
    except Incomplete as error:
        output.narrate(error.message)
        return error
    output.narrate(f"Every lease that runs ends after {hours:g} h from now.")
    return None


def _bring_up(
    world: "World", held: "Held", found: Intended, max_hours: float | None
) -> "tuple[Sequence[StepResult], ThunderError | None]":
    from thunderctl.cli.progress import machine_lines
    from thunderctl.deploying.bring_up import bring_up

    with saying_what_stays(world), machine_lines(found.wanted) as told:
        going = bring_up(
            world,
            found.wanted,
            found.written,
            found.steps,
            max_hours=max_hours or found.written.budget.max_hours,
            report=told.report,
            narrate=told.narrate,
            amended=told.amended,
            resting=found.resting,
        )
        outcome = asyncio.run(held.during(going))
    return outcome.results, outcome.error


def _show_nothing_done(world: "World", found: Intended, *, dry_run: bool, as_json: bool) -> None:
    from thunderctl.deploying.wanted_again import go_on

    if not dry_run:
        go_on(world, found.written, found.resting, is_whole=not found.steps)
        asyncio.run(world.look_after())
    _warn(world, found.written)
    show_outcome(world, [_planned(step) for step in found.steps], as_json=as_json)


def _show_intended(world: "World", found: Intended, renewed_h: float | None, *, as_json: bool) -> None:
    from thunderctl.cli.tables.plan import plan_tables
    from thunderctl.deploying.wanted_again import leaving_for_good
    from thunderctl.weights.weights import sent_secrets

    if not as_json:
        output.show(*plan_tables(found.wanted))
        output.show(*([_steps_table(found.steps)] if found.steps else []))
    if renewed_h:
        released = "; ".join(f"{row.instance} is being released: {row.reason}" for row in leaving_for_good(world))
        but = f" But {released.rstrip('.')}." if released else ""
        output.narrate(f"The machines that run go on for {renewed_h:g} h from now, and then end.{but}")
    if sent := sent_secrets(found.wanted, found.written):
        output.narrate(sent)
    _warn(world, found.written)


def result_entry(result: "StepResult") -> dict[str, Any]:
    """A step as `thunder.apply/v1` has it."""
    error = result.error.message if result.error else None
    return {**_planned(result.step), "state": result.state, "seconds": round(result.seconds, 3), "error": error}


def with_hint(error: ThunderError | None, hint: str) -> ThunderError | None:
    """The error, with what to do about what is half done; None where all went well."""
    if error is not None:
        error.hint = " ".join(part for part in (error.hint, hint) if part)
    return error


def ended_by(failure: ThunderError, *, as_json: bool) -> Exception:
    """What ends the command: the error, or only its exit code where the JSON document already holds it."""
    return typer.Exit(failure.exit_code) if as_json else failure


@contextmanager
def saying_what_stays(world: "World") -> Iterator[None]:
    """Interrupted, say which machines there are and what they cost: nothing is released unasked."""
    try:
        yield
    except KeyboardInterrupt:
        if stays := hint_for(world):
            output.narrate(stays)
        raise


def hint_for(world: "World") -> str:
    """What half-done machines cost meanwhile."""
    from provisioners.leases.ledger import usd_per_hour

    rows = [row for row in world.store.leases(world.name) if row.state.may_cost]
    if not rows:
        return ""
    names = ", ".join(sorted({row.instance for row in rows}))
    count = f"{len(rows)} machine{'s' if len(rows) > 1 else ''}"
    return (
        f"{count} that cost ${float(usd_per_hour(rows)):.3f} an hour stay ({names}): run `thunderctl up` again, or "
        "`thunderctl down`."
    )


def apply_document(
    world: "World", steps: "Sequence[dict[str, Any]]", failure: ThunderError | None = None
) -> dict[str, Any]:
    """`thunder.apply/v1`; with `error` where a step failed."""
    from provisioners.leases.ledger import usd_per_hour

    rows = [row for row in world.store.leases(world.name) if row.state.may_cost]
    error = {"error": output.error_entry(failure)} if failure else {}
    return {
        **error,
        "schema": APPLY_SCHEMA,
        "deployment": world.name,
        "steps": list(steps),
        "instances": [{"id": row.instance, "lease_id": row.lease_id, "state": row.state} for row in rows],
        "cost_usd_per_hour": float(usd_per_hour(rows)),
        "endpoint": world.router.endpoint,
    }


def _warn(world: "World", spec: "Spec") -> None:
    """Say what nears its end, and the id by which machines are found should the store be lost."""
    from thunderctl.home import owner_id
    from thunderctl.money.spending import spending_of, warnings_of

    for warning in warnings_of(spending_of(world.store, world.name), spec):
        output.narrate(f"soon: {warning}")
    output.narrate(f"Machines bear the owner id {owner_id()}: were the store lost, thunderctl gc --owner finds them.")


def _question(wanted: "Plan") -> str:
    """What is agreed to: the plan's cost, and up to its budget where a machine has to be replaced by a dearer one."""
    cost, budget = wanted.cost_usd_per_hour, wanted.budget_usd_per_hour
    more = f", and up to ${budget:.3f} where a machine can't be had and another takes its place"
    return f"Spend up to ${cost:.3f} an hour{more if budget > cost else ''}?"


def _planned(step: "Step") -> dict[str, Any]:
    return {"what": step.what, "id": step.id, "detail": step.detail, "state": "planned", "seconds": 0, "error": None}


def _steps_table(steps: "Sequence[Step]") -> Any:
    return output.table("Steps", ("step", "of", "detail"), ((step.what, step.id, step.detail) for step in steps))


def show_outcome(
    world: "World", entries: "list[dict[str, Any]]", *, as_json: bool, failure: ThunderError | None = None
) -> None:
    from thunderctl.spec.places import LIVES_ON
    from thunderctl.status.asleep import while_asleep

    document = apply_document(world, entries, failure)
    if as_json:
        output.print_json(document)
    elif not entries:
        output.narrate(f"Nothing to do: {world.name} runs as planned. Endpoint: {document['endpoint'] or 'none'}")
    elif all(entry["state"] == "planned" for entry in entries):
        rows = ((entry["what"], entry["id"], entry["detail"]) for entry in entries)
        output.show(output.table("Steps (dry run: nothing was done)", ("step", "of", "detail"), rows))
    elif document["endpoint"] and failure is None:
        output.narrate(f"Serving at {document['endpoint']}, ${document['cost_usd_per_hour']:.3f} an hour.")
        spec, lives_on = world.spec(), os.environ.get(LIVES_ON, "")
        leased = world.store.leases(world.name)
        if said := while_asleep(leased, spec.leases.deadman_s, lives_on=lives_on, place=spec.serve.place):
            output.narrate(said)
