"""What the simulator says of this host's own engines, beside what they do; writes `results/simulator_vs_engines.md`.

.venv/bin/python -m benchmarks.simulator_vs_engines

On a machine that does nothing else: it calibrates, plans with what it found, brings each plan up as `up` does, loads it
through the router at three rates, and lets the simulator replay the very same requests. Everything it starts lies in a
home of its own and is gone at the end.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from planner.demand import Demand, Floats, demand_of
from planner.deployment import Plan
from planner.evaluate import requests_at
from planner.market import Market
from planner.plan import plan
from planner.replay import replay
from planner.simulation.scenario import Requests
from planner.traces import workload_named
from planner.workload import Slo, Workload
from thunderctl.calibration.calibrate import MODEL, calibrate
from thunderctl.calibration.fleet import refuse_neighbours, serving
from thunderctl.calibration.record import CalibrationRecord, Machine, save
from thunderctl.compose import provisioner, read_llm
from thunderctl.home import thunder_home
from thunderctl.load import Answer, ask
from thunderctl.spec import Spec
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
FEWEST, SEED = 100, 7
TARGET_ERROR = 0.25
ATTEMPTS, QUIET_CORES = 2, 0.05
SPEC = Spec.model_validate(
    {"model": {"name": str(MODEL)}, "markets": {"providers": ["local"]}, "serve": {"listen": "127.0.0.1:0"}}
)
PLANS = (("the plan for three slots", 0.06), ("one mixed replica", 0.02))
"""What is loaded, and the budget in $/h that leads to it: a slot costs 0.02."""


@dataclass(frozen=True, slots=True)
class Run:
    """One rate: the requests as they were sent, and what became of them.

    `client_cores` and `foreign_cores` are what the client, and processes that have nothing to do with it all, took.
    """

    rate_rps: float
    requests: Requests
    ttft_s: Floats
    tpot_s: Floats
    simulated_ttft_s: Floats
    simulated_tpot_s: Floats
    client_cores: float
    foreign_cores: float
    latest_s: float


def main(home: Path, *, requests: int, calibration: Path | None) -> None:
    refuse_neighbours()
    if calibration:
        shutil.copy(calibration, home / "calibration.json")
        told = f"Calibrated before, by {json.loads(calibration.read_text())['created_at']}."
    else:
        record = calibrate(report=lambda _: None, narrate=lambda *_: None, say=lambda text: say(f"measuring {text}"))
        save(record)
        told = _calibration_told(record)
    parts = [_about(told)]
    for name, budget in PLANS:
        made = planned(budget)
        say(f"{name}: {', '.join(replica.phase for replica in made.replicas)}")
        runs = loaded(made, requests)
        parts.append(_section(name, made, runs))
        print(parts[-1], flush=True)
        TARGET.write_text("\n".join(parts), encoding="utf-8")
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
        market, llm, workload(), SLO, budget_usd_per_hour=budget_usd_per_hour, max_model_len=MAX_MODEL_LEN, seed=SEED
    )


def loaded(made: Plan, requests: int) -> list[Run]:
    """The plan brought up, and each rate in turn."""
    with open_world("benchmark") as world, world.store.lock("benchmark", "benchmark"):  # noqa: SIM117
        with serving(world, made, SPEC, report=lambda _: None, narrate=lambda *_: None):
            asyncio.run(_send(world, made, requests_at(4.0, _demand(made), 8.0, seed=SEED + 1)))  # warm up
            return [quietest(world, made, share * made.predicted.goodput_rps, requests) for share in RATES]


def quietest(world: World, made: Plan, rate_rps: float, requests: int) -> Run:
    """The rate, measured again while something else takes the processor, up to a limit."""
    runs: list[Run] = []
    while len(runs) < ATTEMPTS and (not runs or runs[-1].foreign_cores > QUIET_CORES):
        runs.append(run_at(world, made, rate_rps, requests))
        say(f"other processes took {runs[-1].foreign_cores:.1%} of a core")
    return min(runs, key=lambda run: run.foreign_cores)


def run_at(world: World, made: Plan, rate_rps: float, requests: int) -> Run:
    asked = requests_at(rate_rps, _demand(made), requests / rate_rps, seed=SEED)
    say(f"{len(asked.arrival_s)} requests at {rate_rps:.2f}/s")
    before, started = _cpu_s(world), time.perf_counter()
    sent_s, answers = asyncio.run(_send(world, made, asked))
    client, own, all_s = np.array(_cpu_s(world)) - before
    wall_s = time.perf_counter() - started
    sent = Requests(sent_s, asked.prompt, asked.output)
    timings = replay(made, sent, seed=SEED).timings
    ttft = timings.first_s - sent.arrival_s
    return Run(
        rate_rps=rate_rps,
        requests=sent,
        ttft_s=np.array([answer.ttft_s for answer in answers]),
        tpot_s=np.array([answer.tpot_s for answer in answers]),
        simulated_ttft_s=ttft,
        simulated_tpot_s=(timings.last_s - timings.first_s) / np.maximum(sent.output - 1, 1),
        client_cores=client / wall_s,
        foreign_cores=max(0.0, all_s - own) / wall_s,
        latest_s=float(np.max(sent_s - asked.arrival_s)),
    )


def _cpu_s(world: World) -> tuple[float, float, float]:
    """CPU seconds so far: of this process; of it, the router and all that works below the home; of the whole host."""
    home, router = str(thunder_home()), (world.router.running() or {}).get("pid")
    own = 0.0
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid in (os.getpid(), router) or process.cwd().startswith(home):
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


def _about(told: str) -> str:
    return f"""# The simulator against real engines

Made by `{COMMAND}` on {os.cpu_count()} cores of {Machine.here().cpu}. {told}
Workload: {workload().name}; Poisson arrivals, seed {SEED}; output lengths are forced. Measured by a streaming client
through the router, so every figure includes the agents, the router and HTTP. Simulated: the same requests, at the times
at which they were sent. A rate during which other processes took more than {QUIET_CORES:.0%} of a core was measured
up to {ATTEMPTS} times; the quietest counts. Errors are simulated over measured minus 1; the target for the medians is
{TARGET_ERROR:.0%}.
"""


def _section(name: str, made: Plan, runs: list[Run]) -> str:
    phases = ", ".join(f"{replica.id} {replica.phase}" for replica in made.replicas)
    lines = [
        f"## {name[0].upper()}{name[1:]}",
        "",
        f"{phases}; goodput {made.predicted.goodput_rps:.2f} requests/s simulated.",
        "",
        "| requests/s | of goodput | requests | | measured ms | simulated ms | error |",
        "|--:|--:|--:|---|--:|--:|--:|",
    ]
    for run, share in zip(runs, RATES, strict=True):
        head = f"| {run.rate_rps:.2f} | {share:.0%} | {len(run.ttft_s)} |"
        for label, measured, simulated in (
            ("TTFT", run.ttft_s, run.simulated_ttft_s),
            ("TPOT", run.tpot_s, run.simulated_tpot_s),
        ):
            for percent in (50, 90):
                real, guess = (float(np.percentile(values, percent)) for values in (measured, simulated))
                figures = f"{real * 1e3:.1f} | {guess * 1e3:.1f} | {guess / real - 1:+.0%}"
                lines.append(f"{head} {label} p{percent} | {figures} |")
    worst = max(
        abs(np.median(guess) / np.median(real) - 1)
        for run in runs
        for real, guess in ((run.ttft_s, run.simulated_ttft_s), (run.tpot_s, run.simulated_tpot_s))
    )
    lines += ["", f"- Worst median: {worst:.0%} (target {TARGET_ERROR:.0%})."]
    client, foreign = (
        ", ".join(f"{getattr(run, name):.1%}" for run in runs) for name in ("client_cores", "foreign_cores")
    )
    late = max(run.latest_s for run in runs)
    lines.append(f"- The client took {client} of a core; its latest request left {late * 1e3:.0f} ms late.")
    return "\n".join([*lines, f"- Processes that have nothing to do with this took {foreign} of a core.", ""])


def _calibration_told(record: CalibrationRecord) -> str:
    errors = [abs(fitted / row.seconds - 1) for row, fitted in zip(record.rows, record.fitted_s, strict=True)]
    mean = sum(errors) / len(errors)
    return f"Calibrated first ({record.vllm}, {record.model}): {len(errors)} rows, mean error {mean:.1%}."


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=FEWEST, help="a rate")
    parser.add_argument("--calibration", type=Path, help="use this calibration.json instead of measuring")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thunder-bench.") as folder:
        os.environ["THUNDER_HOME"] = folder
        main(Path(folder), requests=given.requests, calibration=given.calibration)
