"""Row 3: the workload turns from long prompts to long answers; the controller gives hosts other phases by itself."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.lab.deployment import ADAPTING, STEADY
from benchmarks.lab.hosts import FAST_MBIT
from benchmarks.lab.lab import SLO, Lab, Row
from benchmarks.lab.load import Load, failures_said, loading
from benchmarks.lab.planning import Use, best
from planner.deployment import Phase, Plan
from planner.quick_rebalance import attainment, quick_rebalance
from planner.simulation.scenario import Requests
from planner.workload import Workload

TITLE = "3. A workload that shifts"
PROMPTS = Workload("long prompts", ((400, 8), (600, 8), (800, 8)))
ANSWERS = Workload("long answers", ((24, 80), (32, 120), (40, 160)))
SHARE, CALM_S, TOLD_S, SHIFTED_S, SEED = 0.5, 24.0, 6.0, 70.0, 11
"""Seconds of long prompts, of these how many with a controller that may act, and of long answers. Before it sees enough
of the former it would judge by what the router remembers of earlier rows."""
RATES, HALVINGS, MISSED = (0.1, 20.0), 8, 0.3
"""Of long answers so many requests/s come that this share would miss a target: not more, as the queue would fill."""
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Shift:
    """What long answers come at, and what the controller's own view of it is: attainment as it is, and at best."""

    rate_rps: float
    before: float
    after: float


def shifted(lab: Lab) -> Row:
    lab.deploy()
    lab.shape(FAST_MBIT)
    drawing = lab.drawing(FAST_MBIT, workload=PROMPTS)
    use = best([one for one in drawing.uses() if one.is_split and _decodes_in_the_middle(lab, one)])
    rate_rps = SHARE * drawing.goodput_rps(use)
    plan = drawing.plan(use, rate_rps)
    shift = worth_a_flip(plan)
    lab.say(f"{', '.join(use.phases)}; {rate_rps:.2f}/s of long prompts, then {shift.rate_rps:.2f}/s of long answers")
    lab.write_spec(STEADY)
    lab.deployment.up(plan)
    requests = after(
        lab.requests(rate_rps, CALM_S, SEED, PROMPTS), lab.requests(shift.rate_rps, SHIFTED_S, SEED, ANSWERS)
    )
    with loading(lab.deployment.status()["endpoint"], requests, SLO, SEED) as load:
        load.wait_until(CALM_S - TOLD_S)
        lab.write_spec(ADAPTING)
        lab.deployment.up()
        load.wait_until(CALM_S)
        flipped_s = _flipped_s(lab, load)
    return _row(lab, plan, shift, load, flipped_s)


def _decodes_in_the_middle(lab: Lab, use: Use) -> bool:
    """On the host that is nearly as fast as the controller takes all of them to be: as their median."""
    speeds = sorted(lab.hosts, key=lambda host: host.kind.cores)
    decoding = [lab.plan.replicas[place] for place, phase in enumerate(use.phases) if phase is Phase.DECODE]
    return [lab.host_of(one.instances[0]) for one in decoding] == [speeds[len(speeds) // 2]]


def after(first: Requests, second: Requests) -> Requests:
    """The second as soon as the first has come."""
    pairs = ((first.prompt, second.prompt), (first.output, second.output))
    return Requests(np.concatenate([first.arrival_s, second.arrival_s + CALM_S]), *map(np.concatenate, pairs))


def worth_a_flip(plan: Plan) -> Shift:
    """Just above the rate up to which the plan in force would do, simulated as the controller does."""
    enough, too_many = RATES
    for _ in range(HALVINGS):
        rate_rps = (enough + too_many) / 2
        does = attainment(plan, ANSWERS.at(rate_rps)) > 1 - MISSED
        enough, too_many = (rate_rps, too_many) if does else (enough, rate_rps)
    workload = ANSWERS.at(too_many)
    before, other = attainment(plan, workload), quick_rebalance(plan, workload)
    return Shift(too_many, before, attainment(other, workload) if other else before)


def _flipped_s(lab: Lab, load: Load) -> float | None:
    """From the shift until the controller's routes are in force; None where they never were."""
    epoch = lab.deployment.status()["epoch"]
    while load.now_s < CALM_S + SHIFTED_S:
        if lab.deployment.status()["epoch"] > epoch:
            return load.now_s - CALM_S
        time.sleep(LOOK_S)
    return None


def _row(lab: Lab, plan: Plan, shift: Shift, load: Load, flipped_s: float | None) -> Row:
    changes = [one["message"] for one in lab.deployment.events() if one["kind"].startswith("controller.rebalance")]
    recovered_s = load.troubled_s(CALM_S)
    flipped = "never" if flipped_s is None else f"{flipped_s:.0f} s"
    lines = [
        f"Plan for long prompts in force: {_phases(plan)}. After {CALM_S:.0f} s long answers come instead, at",
        f"{shift.rate_rps:.2f} requests/s: simulated as the controller does, {shift.before:.0%} of them meet their",
        f"targets so, and {shift.after:.0%} with the best phases.",
        "",
        "| | |",
        "|---|--:|",
        f"| from the shift to other phases in force | {flipped} |",
        f"| from the shift to the last request that missed a target | {recovered_s:.0f} s of {SHIFTED_S:.0f} s |",
        f"| failed requests (target 0) | {failures_said(load.tally.begun, load.tally.causes)} |",
        "",
        *(f"- {text}" for text in changes),
    ]
    found: dict[str, Any] = {"flipped_s": flipped_s, "recovered_s": recovered_s, "failed": load.tally.causes.total()}
    return Row(TITLE, lines, found)


def _phases(plan: Plan) -> str:
    return ", ".join(f"{one.id} {one.phase}" for one in plan.replicas)
