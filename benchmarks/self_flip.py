"""Write `benchmarks/results/self_flip.md`: the workload shifts under real engines, and the controller flips by itself.

.venv/bin/python -m benchmarks.self_flip [--no-calibrate] [--before S] [--after S]

The local deployment, planned for long prompts with short answers (like coding), is brought up and asked for just that;
then requests turn to short prompts with long answers (like conversation). Nobody gives a command. How tight the target
for TPOT is, and how many requests come, is chosen by what the planner expects of this host: so that the phases in force
fall short and others do not, at the lightest such load. So this host is calibrated first (3 minutes, nothing else
running); without that, expectations are of another host. Clients are an open loop; a refused request counts as failed.
"""

import argparse
import asyncio
import os
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.self_flip_setting import CODING, CONVERSATION, PLANNED_RPS, RECOVERS, Setting, lengths, setting
from planner.simulation.scenario import Requests
from planner.workload import Slo
from tests.operating import Operator
from thunderctl.bench.entry import enter
from thunderctl.bench.open_loop import play
from thunderctl.bench.prompts import requests_ready
from thunderctl.bench.running import sender
from thunderctl.bench.tally import Tally
from thunderctl.deploying.lifecycle import REBALANCED
from thunderctl.secrets import Secret

Bools: TypeAlias = NDArray[np.bool_]
TARGET = Path(__file__).parent / "results" / "self_flip.md"
SEED, WINDOW = 20261122, 20


@dataclass(slots=True)
class Seen:
    """The deployment's status, with the seconds of the load at which it was looked at."""

    looks: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def flipped_s(self) -> float | None:
        """When phases were first other than in the beginning."""
        first = phases(self.looks[0][1])
        return next((at for at, status in self.looks if phases(status) != first), None)

    @property
    def identities(self) -> set[tuple[Any, ...]]:
        """Each replica's process at each look: one for all, where no engine was restarted."""
        return {
            tuple((one["id"], one["pid"], one["started_at"]) for one in status["replicas"]) for _, status in self.looks
        }


def phases(status: Mapping[str, Any]) -> dict[str, str]:
    return {one["id"]: one["phase"] for one in status["replicas"]}


def asked(rate_rps: float, before_s: float, after_s: float) -> Requests:
    """Poisson arrivals, of one workload as planned and then of the other at a rate."""
    drawn = random.Random(SEED)
    first = _arrivals(drawn, PLANNED_RPS, 0.0, before_s)
    arrivals = [*first, *_arrivals(drawn, rate_rps, before_s, before_s + after_s)]
    tokens = [*lengths(CODING, len(first), 3), *lengths(CONVERSATION, len(arrivals) - len(first), 4)]
    prompt, output = (np.array(column) for column in zip(*tokens, strict=True))
    return Requests(np.array(arrivals), prompt, output)


def _arrivals(drawn: random.Random, rate_rps: float, at: float, until: float) -> list[float]:
    found = []
    while (at := at + drawn.expovariate(rate_rps)) < until:
        found.append(at)
    return found


def watch(user: Operator, seen: Seen, began: float, over: threading.Event) -> None:
    while not over.wait(0.5):
        seen.looks.append((time.perf_counter() - began, user.look()))


async def load(user: Operator, requests: Requests, slo: Slo, seen: Seen) -> Tally:
    """The load, and what is seen of the deployment meanwhile."""
    first = await asyncio.to_thread(user.look)
    door, model = await enter(first["endpoint"], Secret(""))
    tally, over = Tally.of(requests, slo), threading.Event()
    watching = threading.Thread(target=watch, args=(user, seen, time.perf_counter(), over))
    seen.looks.append((0.0, first))
    watching.start()
    try:
        await play(tally, requests_ready(door, model, requests, SEED), sender(door, requests))
    finally:
        over.set()
        await asyncio.to_thread(watching.join)
    return tally


def met(tally: Tally) -> Bools:
    """Whether each request met both targets; one that failed met none."""
    output = np.maximum(tally.requests.output - 1, 1)
    with np.errstate(invalid="ignore"):
        tpot_s = (tally.last_s - tally.first_s) / output
    return (tally.first_s - tally.requests.arrival_s <= tally.slo.ttft_s) & (tpot_s <= tally.slo.tpot_s)


def share(values: Bools) -> str:
    return f"{float(values.mean()):.0%} of {len(values)}" if len(values) else "-"


def recovered_s(tally: Tally, after: float, wanted: float) -> float | None:
    """When the last of the first so many requests in a row that arrived after a moment, and met their targets as often
    as wanted, was answered."""
    there, well = tally.requests.arrival_s, met(tally)
    for end in range(WINDOW, len(there) + 1):
        if there[end - WINDOW] >= after and well[end - WINDOW : end].mean() >= wanted:
            return float(tally.last_s[end - 1])
    return None


@dataclass(frozen=True, slots=True)
class Lived:
    """One run: what was chosen, what clients got, what was seen of the deployment, and what was said of it."""

    chosen: Setting
    tally: Tally
    seen: Seen
    events: tuple[str, ...]


def text_of(lived: Lived, before_s: float, *, calibrated: bool) -> str:
    """The page."""
    chosen, tally, seen = lived.chosen, lived.tally, lived.seen
    there, well, flipped = tally.requests.arrival_s, met(tally), seen.flipped_s
    at = flipped if flipped is not None else float("inf")
    first, second, third = there < before_s, (there >= before_s) & (there < at), there >= at
    back = recovered_s(tally, at, RECOVERS) if flipped is not None else None
    hosts = "calibrated" if calibrated else "not calibrated: expectations are of another host"
    rows = [
        ("requests within both targets before the switch", share(well[first])),
        ("from the switch until the flip", share(well[second])),
        ("after the flip", share(well[third])),
        ("from the switch to the flip, s", f"{at - before_s:.1f}" if flipped is not None else "it did not flip"),
        (
            f"from the switch until {WINDOW} requests in a row met them at {RECOVERS:.0%}, s",
            f"{back - before_s:.1f}" if back is not None else "not seen",
        ),
        ("requests that failed", str(sum(tally.causes.values()))),
        ("engines that were restarted", str(len(seen.identities) - 1)),
    ]
    return "\n".join(
        [
            "# The controller flips by itself",
            "",
            f"Written by `.venv/bin/python -m benchmarks.self_flip` on {os.cpu_count()} cores ({hosts}), "
            f"{platform.machine()}, Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f} at the "
            f"end, seed {SEED}. Real engines, measured by clients.",
            "",
            f"Poisson: {PLANNED_RPS:g} requests/s of about {CODING[0]} + {CODING[1]} tokens, as planned for; after "
            f"{before_s:g} s {chosen.rate_rps:g} of about {CONVERSATION[0]} + {CONVERSATION[1]}. Targets: TTFT "
            f"{chosen.slo.ttft_s:g} s, TPOT {chosen.slo.tpot_s * 1e3:.1f} ms. Simulated beforehand "
            f"for the second: {chosen.now:.0%} in the phases planned for the first, {chosen.best:.0%} in others.",
            "",
            "| | |",
            "|---|--:|",
            *(f"| {what} | {value} |" for what, value in rows),
            "",
            f"Phases: {_said(seen.looks[0][1])} before, {_said(seen.looks[-1][1])} at the end. Events:",
            "",
            *(f"* {one}" for one in lived.events),
            "",
        ]
    )


def _said(status: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {phase}" for name, phase in phases(status).items())


def live(home: Path, *, calibrated: bool, before_s: float, after_s: float) -> Lived:
    """Bring it up, ask of it one workload and then the other, and take it down."""
    user = Operator(home)
    try:
        if calibrated:
            user.run("doctor", "--calibrate")
        with patch.dict(os.environ, user.environment):
            chosen = setting(home)
        (home / "thunder.toml").write_text(chosen.spec)
        print(f"TPOT {chosen.slo.tpot_s * 1e3:.1f} ms, {chosen.rate_rps:g} requests/s", file=sys.stderr)
        user.run("up", "--yes")
        seen = Seen()
        tally = asyncio.run(load(user, asked(chosen.rate_rps, before_s, after_s), chosen.slo, seen))
        kinds = ("controller.rebalance", REBALANCED)
        events = tuple(one["message"] for one in user.json("events")["events"] if one["kind"] in kinds)
        user.run("down", "--yes")
        return Lived(chosen, tally, seen, events)
    finally:
        user.end_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-calibrate", action="store_true")
    parser.add_argument("--before", type=float, default=60.0)
    parser.add_argument("--after", type=float, default=120.0)
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="thunder-flip."))
    try:
        lived = live(home, calibrated=not given.no_calibrate, before_s=given.before, after_s=given.after)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    text = text_of(lived, given.before, calibrated=not given.no_calibrate)
    TARGET.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
