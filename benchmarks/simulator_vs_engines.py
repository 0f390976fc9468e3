"""What the simulator says of this host's own engines, beside what they do; writes `results/simulator_vs_engines.md`.

.venv/bin/python -m benchmarks.simulator_vs_engines

On a machine that does nothing else: it calibrates, plans with what it found, brings each plan up as `up` does, loads it
through the router at three rates, three times each, and lets the simulator replay the very same requests. Everything it
starts lies in a home of its own and is gone at the end. With `--only` it measures one plan, and leaves the section of
the other as it is.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.engine_sections import Run, joined, put, section
from planner.demand import Demand, Floats, demand_of
from planner.deployment import Plan
from planner.evaluate import requests_at
from planner.market import Market
from planner.plan import plan
from planner.replay import replay
from planner.simulation.scenario import Requests
from planner.traces import workload_named
from planner.workload import Slo, Workload
from thunderctl.bench.load import Answer, ask
from thunderctl.calibration.calibrate import MODEL, calibrate
from thunderctl.calibration.fleet import refuse_neighbours, serving
from thunderctl.calibration.record import CalibrationRecord, Machine, save
from thunderctl.compose import provisioner
from thunderctl.home import thunder_home
from thunderctl.spec.inputs import read_llm
from thunderctl.spec.spec import Spec
from thunderctl.world import World, open_world

PROJECT = Path(__file__).parents[1]
TARGET = PROJECT / "benchmarks" / "results" / "simulator_vs_engines.md"
COMMAND = ".venv/bin/python -m benchmarks.simulator_vs_engines"
SCALE, SHORTEST = 6, (8, 2)
"""The conversation preset's lengths are divided by this, so that a tiny model on a CPU serves some a second."""
SLO = Slo(ttft_s=2.0, tpot_s=0.03, attainment=0.9)
MAX_MODEL_LEN = 4096
RATES = (0.25, 0.5, 0.75)
"""Of the plan's goodput."""
RUN_S, SEEDS = 30.0, (7, 8, 9)
"""Seconds of arrivals, and which: a rate is measured once a seed, as two runs' medians may differ by a tenth."""
PLAN_SEED, WARM_UP_SEED = 7, 1
TARGET_ERROR = 0.25
SPEC = Spec.model_validate(
    {"model": {"name": str(MODEL)}, "markets": {"providers": ["local"]}, "serve": {"listen": "127.0.0.1:0"}}
)
PLANS = {"split": ("The plan for three slots", 0.06), "mixed": ("One mixed replica", 0.02)}
"""What is loaded: its section, and the budget in $/h that leads to it: a slot costs 0.02."""


def main(home: Path, *, seconds: float, calibration: Path | None, only: Sequence[str]) -> None:
    refuse_neighbours()
    if calibration:
        shutil.copy(calibration, home / "calibration.json")
        told = f"Calibrated by {json.loads(calibration.read_text())['created_at']}."
    else:
        record = calibrate(report=lambda _: None, narrate=lambda *_: None, say=lambda text: say(f"measuring {text}"))
        save(record)
        told = _calibration_told(record)
    for title, budget in (PLANS[name] for name in only):
        made = planned(budget)
        say(f"{title}: {', '.join(replica.phase for replica in made.replicas)}")
        found = _headed(made, told, loaded(made, seconds))
        print(found, flush=True)
        put(TARGET, _about(), {title: found}, order=[title for title, _ in PLANS.values()])
        say(f"wrote {TARGET}")


def workload() -> Workload:
    """The conversation preset, its prompts and outputs divided by SCALE."""
    scaled = tuple(
        tuple(max(least, round(tokens / SCALE)) for tokens, least in zip(pair, SHORTEST, strict=True))
        for pair in workload_named("conversation").lengths
    )
    return Workload(f"conversation, lengths divided by {SCALE}", tuple((prompt, output) for prompt, output in scaled))


def planned(budget_usd_per_hour: float) -> Plan:
    """What `plan` chooses on this host's market."""
    market = Market(asyncio.run(provisioner("local").offers()), "", "live")
    llm = read_llm(str(MODEL))
    return plan(
        market,
        llm,
        workload(),
        SLO,
        budget_usd_per_hour=budget_usd_per_hour,
        max_model_len=MAX_MODEL_LEN,
        seed=PLAN_SEED,
    )


def loaded(made: Plan, seconds: float) -> list[Run]:
    """The plan brought up, and all rates in turn for each seed; the runs of a rate as one."""
    with open_world("benchmark") as world, world.store.lock("benchmark", "benchmark"):  # noqa: SIM117
        with serving(world, made, SPEC, report=lambda _: None, narrate=lambda *_: None):
            asyncio.run(_send(world, made, requests_at(4.0, _demand(made), 8.0, seed=WARM_UP_SEED)))
            rates = [share * made.predicted.goodput_rps for share in RATES]
            rounds = [[run_at(world, made, rate, seconds, seed) for rate in rates] for seed in SEEDS]
    return [joined(runs) for runs in zip(*rounds, strict=True)]


def run_at(world: World, made: Plan, rate_rps: float, seconds: float, seed: int) -> Run:
    asked = requests_at(rate_rps, _demand(made), seconds, seed=seed)
    say(f"{len(asked.arrival_s)} requests at {rate_rps:.2f}/s")
    before, started = _cpu_s(world), time.perf_counter()
    sent_s, answers = asyncio.run(_send(world, made, asked))
    client, own, all_s = np.array(_cpu_s(world)) - before
    wall_s = time.perf_counter() - started
    timings = replay(made, Requests(sent_s, asked.prompt, asked.output), seed=seed).timings
    return Run(
        rate_rps=rate_rps,
        ttft_s=np.array([answer.ttft_s for answer in answers]),
        tpot_s=np.array([answer.tpot_s for answer in answers]),
        simulated_ttft_s=timings.first_s - sent_s,
        simulated_tpot_s=(timings.last_s - timings.first_s) / np.maximum(asked.output - 1, 1),
        client_cores=client / wall_s,
        foreign_cores=max(0.0, all_s - own) / wall_s,
        latest_s=float(np.max(sent_s - asked.arrival_s)),
    )


def _cpu_s(world: World) -> tuple[float, float, float]:
    """CPU seconds so far: of this process; of it, the router and all that works below the home; of the whole host."""
    home, own, ours = str(thunder_home()), 0.0, {os.getpid()}
    if router := world.router.running():
        ours |= {router["pid"], *(one.pid for one in psutil.Process(router["pid"]).children())}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid in ours or process.cwd().startswith(home):
                own += _used_s(process.cpu_times())
    whole = psutil.cpu_times()
    return _used_s(psutil.Process().cpu_times()), own, _used_s(whole) + whole.nice + whole.irq + whole.softirq


def _used_s(times: Any) -> float:
    return float(times.user + times.system)


async def _send(world: World, made: Plan, asked: Requests) -> tuple[Floats, list[Answer]]:
    """Each request at its time, whatever became of those before; when each was sent, and its answer."""
    random = np.random.default_rng(time.time_ns())
    prompts = [random.integers(10, 2000, int(tokens)).tolist() for tokens in asked.prompt]
    started = time.perf_counter()
    sent_s, tasks = [], []
    for arrival, prompt, output in zip(asked.arrival_s.tolist(), prompts, asked.output.tolist(), strict=True):
        await asyncio.sleep(max(0.0, started + arrival - time.perf_counter()))
        sent_s.append(time.perf_counter() - started)
        tasks.append(asyncio.create_task(ask(world.router.endpoint, made.llm.name, prompt, int(output))))
    return np.array(sent_s), list(await asyncio.gather(*tasks))


def _demand(made: Plan) -> Demand:
    return demand_of(workload(), made.max_model_len)


def _about() -> str:
    return f"""# The simulator against real engines

Made by `{COMMAND}` on {os.cpu_count()} cores of {Machine.here().cpu}.
Workload: {workload().name}; Poisson arrivals, seeds {", ".join(map(str, SEEDS))}: all requests of a rate count as
one run. Output lengths are forced. Measured by a streaming client through the router, so every figure includes the
agents, the router and HTTP. Simulated: the same requests, at the times at which they were sent. Errors are simulated
over measured minus 1; the target for the medians is {TARGET_ERROR:.0%}.
"""


def _headed(made: Plan, told: str, runs: list[Run]) -> str:
    phases = ", ".join(f"{replica.id} {replica.phase}" for replica in made.replicas)
    head = f"{phases}; goodput {made.predicted.goodput_rps:.2f} requests/s simulated. {told}"
    return f"{head}\n\n{section(runs, RATES, TARGET_ERROR)}"


def _calibration_told(record: CalibrationRecord) -> str:
    errors = [abs(fitted / row.seconds - 1) for row, fitted in zip(record.rows, record.fitted_s, strict=True)]
    mean = sum(errors) / len(errors)
    return f"Calibrated just before ({record.vllm}, {record.model}): {len(errors)} rows, mean error {mean:.1%}."


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=RUN_S, help="of arrivals in a run")
    parser.add_argument("--only", choices=PLANS, help="the plan to measure; else all")
    parser.add_argument("--calibration", type=Path, help="use this calibration.json instead of measuring")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thunder-bench.") as folder:
        os.environ["THUNDER_HOME"] = folder
        only = [given.only] if given.only else list(PLANS)
        main(Path(folder), seconds=given.seconds, calibration=given.calibration, only=only)
