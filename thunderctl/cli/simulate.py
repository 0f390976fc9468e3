"""`thunderctl simulate`: replay requests against a plan, in simulated time."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.errors import SpecError
from planner.workload import LEAST_BURSTINESS, MOST_BURSTINESS
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

MOST_REQUESTS = 1_000_000
DURATION_S = 120.0
STDOUT = Path("-")
TO_A_FILE = "Give --requests-out a file's name."
SHOWN = 20_000
"""Requests from which on a run lasts long enough to show how far it is."""

_SHARE = "at least 0 and below 1"

if TYPE_CHECKING:
    from planner.deployment import Plan
    from planner.simulation.scenario import Requests


@dataclass(frozen=True, slots=True)
class Stream:
    """What a command's flags ask to be played; None where the plan, or a default, decides."""

    workload: str | None
    rate: float | None
    duration: float | None
    burstiness: float | None
    prefix_hits: float | None
    trace: Path | None
    seed: int


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
    from planner.replay import replay
    from thunderctl.cli.simulation_tables import requests_csv, simulation_json, simulation_table
    from thunderctl.compose import read_plan
    from thunderctl.plots import check_picture, simulation_figure

    chosen = read_plan(plan)
    if plot:
        check_picture(plot)
    if as_json and requests_out == STDOUT:
        raise SpecError("--requests-out - and --json both write to stdout; expected one of them.", hint=TO_A_FILE)
    stream = Stream(workload, rate, duration, burstiness, prefix_hits, trace, seed)
    later = [(at_s, read_plan(Path(path))) for path, at_s in map(_moment("--then", "PLAN"), then or ())]
    failures = [(at_s, name) for name, at_s in map(_moment("--fail", "REPLICA"), fail or ())]
    requests = _requests(chosen, stream)
    started = time.monotonic()
    with _told(len(requests.arrival_s)) as progress:
        found = replay(chosen, requests, later=later, failures=failures, seed=seed, progress=progress)
    wall_s = time.monotonic() - started
    if requests_out == STDOUT:
        output.print_text(requests_csv(requests, found))
    elif requests_out:
        output.write_file(requests_out, requests_csv(requests, found))
    if plot:
        name = trace.name if trace else workload or chosen.workload.name
        try:
            simulation_figure(
                plot, found, chosen.slo, plan=chosen, workload=name, rate_rps=found.arrival_rate_rps, seed=seed
            )
        except OSError as error:
            raise SpecError(f"{plot} can't be written: {error.strerror}.") from error
    if as_json:
        output.print_json(simulation_json(found, chosen, seed=seed, wall_s=wall_s))
    elif requests_out != STDOUT:
        output.show(simulation_table(found, chosen, wall_s=wall_s))


def _requests(plan: "Plan", stream: Stream) -> "Requests":
    """What the flags ask for, else what the plan was made for."""
    from planner.replay import requests_of, with_prefix_hits
    from planner.traces import trace_from_csv
    from thunderctl.compose import read_text

    hits = _within("--prefix-hits", stream.prefix_hits, plan.workload.prefix_hit_share, lambda x: 0 <= x < 1, _SHARE)
    if stream.trace is None:
        return _made_up(plan, stream, hits)
    own = {
        "--workload": stream.workload,
        "--rate": stream.rate,
        "--duration": stream.duration,
        "--burstiness": stream.burstiness,
    }
    for flag, value in own.items():
        if value is not None:
            raise SpecError(
                f"{flag} was given beside --trace, which brings its own arrivals and lengths.",
                hint=f"Leave out one of the two; `--workload {stream.trace}` takes only the lengths.",
            )
    return with_prefix_hits(requests_of(trace_from_csv(read_text(stream.trace), str(stream.trace))), hits)


def _made_up(plan: "Plan", stream: Stream, hits: float) -> "Requests":
    """Arrivals at a rate, with the lengths of a workload."""
    from planner.demand import demand_of
    from planner.evaluate import requests_at
    from thunderctl.cli.plan import with_flags
    from thunderctl.compose import read_workload
    from thunderctl.spec import Spec

    if stream.workload is None and plan.workload.name not in ("coding", "conversation"):
        raise SpecError(
            f"The plan was made for {plan.workload.name}, whose lengths it does not hold.",
            hint="Name the workload: --workload coding, conversation or the trace's CSV.",
        )
    shape = _within(
        "--burstiness",
        stream.burstiness,
        plan.workload.burstiness,
        lambda x: LEAST_BURSTINESS <= x <= MOST_BURSTINESS,
        f"{LEAST_BURSTINESS} to {MOST_BURSTINESS:g}",
    )
    rps = _within("--rate", stream.rate, plan.workload.rate_rps, lambda x: 0 < x < math.inf, "requests/s above 0")
    duration = _within("--duration", stream.duration, DURATION_S, math.isfinite, "seconds, 1 or more")
    if not rps * duration <= MOST_REQUESTS:
        raise SpecError(f"{rps:g} requests/s for {duration:g} s are too many; expected {MOST_REQUESTS:,} or fewer.")
    lengths = read_workload(with_flags(Spec(), workload=stream.workload or plan.workload.name, rate=stream.rate))
    demand = demand_of(replace(lengths, burstiness=shape, prefix_hit_share=hits), plan.max_model_len)
    return requests_at(rps, demand, duration, seed=stream.seed)


def _within(flag: str, given: float | None, otherwise: float, allows: Callable[[float], bool], expected: str) -> float:
    value = otherwise if given is None else given
    if not allows(value):
        raise SpecError(f"{flag} is {value:g}; expected {expected}.")
    return value


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
