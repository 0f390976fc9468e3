"""`thunderctl simulate`: replay requests against a plan, in simulated time."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption
from thunderctl.cli.stream import Stream, asked_requests

STDOUT = Path("-")
TO_A_FILE = "Give --requests-out a file's name."
SHOWN = 20_000
"""Requests from which on a run lasts long enough to show how far it is."""

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.replay import Replay
    from planner.simulation.scenario import Requests


@dataclass(frozen=True, slots=True)
class Played:
    """A plan's run: the requests, what became of them, and how long that took to simulate."""

    plan: "Plan"
    requests: "Requests"
    found: "Replay"
    wall_s: float


def simulate(
    plan: Annotated[Path, typer.Argument(help="The plan's file.")],
    workload: Annotated[str | None, typer.Option(help="coding, conversation, or a trace's CSV; lengths only.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests/s; the plan's own unless given.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of arrivals (default 120).", min=1)] = None,
    burstiness: Annotated[
        float | None, typer.Option(help="Gamma shape of the arrivals: 1 Poisson, below 1 bursts. Default: the plan's.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Replay this trace as it is, arrivals too.")] = None,
    prefix_hits: Annotated[
        float | None, typer.Option(help="Share of prompt tokens found in the prefix cache. Default: the plan's.")
    ] = None,
    then: Annotated[
        list[str] | None, typer.Option(help="PLAN@SECONDS: from then on this plan's phases and routes (repeat it).")
    ] = None,
    fail: Annotated[
        list[str] | None, typer.Option(help="REPLICA@SECONDS: this replica fails then (repeat it).")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw TTFT, TPOT, attainment and utilisation here, as PNG.")] = None,
    requests_out: Annotated[
        Path | None, typer.Option(help="Write what became of every request here, as CSV; - is stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals and routes.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Play requests against a plan and report what clients would see. Nothing runs; every figure is simulated.

    Example: thunderctl simulate plan.json --rate 4
    """
    from thunderctl.cli.tables.simulation import simulation_json, simulation_table
    from thunderctl.spec.inputs import read_plan

    chosen = read_plan(plan)
    _check_outputs(plot, requests_out, as_json=as_json)
    stream = Stream(workload, rate, duration, burstiness, prefix_hits, trace, seed)
    later = [(at_s, read_plan(Path(path))) for path, at_s in map(_moment("--then", "PLAN"), then or ())]
    failures = [(at_s, name) for name, at_s in map(_moment("--fail", "REPLICA"), fail or ())]
    run = _play(chosen, stream, later, failures)
    if requests_out:
        _write_requests(requests_out, run)
    if plot:
        _draw(plot, run, stream)
    if as_json:
        output.print_json(simulation_json(run.found, chosen, seed=seed, wall_s=run.wall_s))
    elif requests_out != STDOUT:
        output.show(simulation_table(run.found, chosen, wall_s=run.wall_s))


def _check_outputs(plot: Path | None, requests_out: Path | None, *, as_json: bool) -> None:
    """What can be known to fail before the run."""
    from thunderctl.plots import check_picture

    if plot:
        check_picture(plot)
    for path in (plot, requests_out):
        if path and path != STDOUT:
            output.check_writable(path)
    if as_json and requests_out == STDOUT:
        raise SpecError("--requests-out - and --json both write to stdout; expected one of them.", hint=TO_A_FILE)


def _play(
    plan: "Plan", stream: Stream, later: Sequence[tuple[float, "Plan"]], failures: Sequence[tuple[float, str]]
) -> Played:
    """The flags' requests through the plan, and through the `later` ones from their times on."""
    from planner.replay import replay

    requests = asked_requests(plan, stream)
    started = time.monotonic()
    with _told(len(requests.arrival_s)) as progress:
        found = replay(plan, requests, later=later, failures=failures, seed=stream.seed, progress=progress)
    return Played(plan, requests, found, time.monotonic() - started)


def _write_requests(path: Path, run: Played) -> None:
    from thunderctl.cli.tables.simulation import requests_csv

    text = requests_csv(run.requests, run.found)
    if path == STDOUT:
        output.print_text(text)
    else:
        output.write_file(path, text)


def _draw(path: Path, run: Played, stream: Stream) -> None:
    from thunderctl.plots import simulation_figure

    name = stream.trace.name if stream.trace else stream.workload or run.plan.workload.name
    rps = run.found.arrival_rate_rps
    try:
        simulation_figure(path, run.found, run.plan.slo, plan=run.plan, workload=name, rate_rps=rps, seed=stream.seed)
    except OSError as error:
        raise SpecError(f"{path} can't be written: {error.strerror}.") from error


def _moment(flag: str, what: str) -> Callable[[str], tuple[str, float]]:
    """Reads WHAT@SECONDS."""

    def read(text: str) -> tuple[str, float]:
        name, _, when = text.rpartition("@")
        try:
            seconds = float(when)
        except ValueError:
            seconds = -1.0
        if not name or not 0 <= seconds < float("inf"):
            raise SpecError(f"{flag} is {text!r}; expected {what}@SECONDS, of the run's own clock.")
        return name, seconds

    return read


@contextmanager
def _told(requests: int) -> Iterator[Callable[[float], None]]:
    """How far a long run is, on stderr, where that is a terminal."""
    if requests < SHOWN or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=output.narrator(), transient=True) as bar:
        task = bar.add_task(f"Simulating {requests:,} requests", total=1.0)
        yield lambda share: bar.update(task, completed=share)
