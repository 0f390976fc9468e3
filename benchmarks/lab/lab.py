"""What all rows of the lab share: the hosts, the deployment on them, what was measured of it, and whom to tell."""

import asyncio
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lab.calibrating import Speeds, measured
from benchmarks.lab.deployment import STEADY, Deployment
from benchmarks.lab.hosts import Host
from benchmarks.lab.leavings import Traces
from benchmarks.lab.planning import Drawing
from benchmarks.simulator_vs_engines import workload
from planner.demand import demand_of
from planner.deployment import Codec, Plan
from planner.evaluate import requests_at
from planner.simulation.scenario import Requests
from planner.workload import Slo, Workload
from thunderctl.world import open_world

SLO = Slo(ttft_s=3.0, tpot_s=0.08, attainment=0.9)
NAME, PATIENCE_S, LOOK_S = "default", 600.0, 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """A section of the page, and what it rests on for `--json`."""

    title: str
    lines: Sequence[str]
    found: dict[str, Any]


@dataclass(slots=True)
class Lab:
    """The deployment is up once `deploy` was asked for it. `rounds` is how often each harm is done to it."""

    folder: Path
    hosts: Sequence[Host]
    say: Callable[[str], None]
    deployment: Deployment
    workload: Workload = field(default_factory=workload)
    traces: Traces = field(default_factory=Traces)
    rounds: int = 1
    _plan: Plan | None = None
    _speeds: Speeds | None = None

    def host_of(self, instance: str) -> Host:
        """The one that an instance of the plan is."""
        return next(host for host in self.hosts if host.name == self.plan.instance(instance).offer_id)

    @property
    def plan(self) -> Plan:
        """The first one: its instances and replicas are those of all others."""
        assert self._plan is not None, "deploy comes first"
        return self._plan

    @property
    def speeds(self) -> Speeds:
        assert self._speeds is not None, "deploy comes first"
        return self._speeds

    def deploy(self) -> None:
        """Plan, bring up, and measure every host, unless that is done."""
        if self._speeds is not None:
            return
        self.write_spec(STEADY)
        self.say("planning without measurements")
        self._plan = self.deployment.first_plan()
        self.say(f"up: {len(self.hosts)} hosts")
        self.deployment.up(self._plan)
        self.traces.note(self.hosts)
        self._speeds = self._measure()

    def drawing(self, mbit_per_s: float, codec: Codec | None = None, workload: Workload | None = None) -> Drawing:
        return Drawing(self.plan, self.speeds, workload or self.workload, SLO, mbit_per_s, codec)

    def shape(self, mbit_per_s: float) -> None:
        for host in self.hosts:
            host.shape(mbit_per_s)

    def requests(self, rate_rps: float, seconds: float, seed: int, workload: Workload | None = None) -> Requests:
        """Arrivals that begin at once."""
        made = requests_at(rate_rps, demand_of(workload or self.workload, self.plan.max_model_len), seconds, seed=seed)
        return Requests(made.arrival_s - made.arrival_s[0], made.prompt, made.output)

    def bench(self, requests: Requests) -> dict[str, Any]:
        """What `thunderctl bench` reports of these."""
        trace = self.folder / "bench.csv"
        write_trace(trace, requests)
        return self.deployment.command("bench", "--trace", str(trace))

    def write_spec(self, controller: dict[str, Any]) -> None:
        trace = self.folder / "workload.csv"
        prompt, output = np.array(self.workload.lengths, dtype=np.float64).T
        write_trace(trace, Requests(np.arange(len(prompt), dtype=np.float64), prompt, output))
        self.deployment.write_spec(controller, trace)

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Seconds until it is so. Raises TimeoutError."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > PATIENCE_S:
                raise TimeoutError(f"Within {PATIENCE_S:g} s it did not come to pass: {what}.")
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def is_whole(self) -> bool:
        """Whether all replicas are ready, in routes that the router follows."""
        status = self.deployment.status()
        routed = {end for route in status["routes"] for end in (route["prefill"], route["decode"])}
        ready = {one["id"] for one in status["replicas"] if one["state"] == "ready"}
        return bool(status["endpoint"]) and status["state"] == "serving" and routed == ready == self._replicas

    @property
    def _replicas(self) -> set[str]:
        return {replica.id for replica in self.plan.replicas}

    def _measure(self) -> Speeds:
        with open_world(NAME) as world, world.store.lock(NAME, "measure"):
            return asyncio.run(measured(world, self.plan, self.say))


def write_trace(path: Path, requests: Requests) -> None:
    """As `bench` reads it."""
    rows = zip(requests.arrival_s.tolist(), requests.prompt.tolist(), requests.output.tolist(), strict=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerow(("arrival_s", "prompt_tokens", "output_tokens"))
        csv.writer(file).writerows((f"{at:.6f}", int(prompt), int(output)) for at, prompt, output in rows)
