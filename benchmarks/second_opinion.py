"""Write `benchmarks/results/second_opinion.md`: our plan and baselines scored by a simulator that is not ours.

Run by `PYTHONPATH=.venv-benchmarks .venv/bin/python -m benchmarks.second_opinion`, once
`requirements/install.sh benchmarks` is done. `make bench` does both.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import ciw

from benchmarks.arguments import takes_none
from benchmarks.baselines import MAX_MODEL_LEN, MODEL, PROVIDERS, SEED, SLO, WORKLOADS
from benchmarks.queueing import Fleet, goodput_rps
from planner.baselines.compare import BASELINES, compared
from planner.baselines.setting import Setting
from planner.market import eligible, snapshot
from planner.members import members_of
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import plan, task_of
from planner.traces import workload_named

TARGET = Path(__file__).parent / "results" / "second_opinion.md"
BUDGET_USD_PER_HOUR = 14.0
OTHERS = {name: BASELINES[name] for name in ("vllm", "distserve", "splitwise", "cheapest-type")}


def main() -> None:
    lines = list(_written())
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.name}", file=sys.stderr)


def _written() -> Iterator[str]:
    yield from (
        "# A second opinion on our plan and the baselines",
        "",
        "Written by `benchmarks/second_opinion.py`, whose docstring has the command. Simulated goodputs in requests/s,",
        f"for {BUDGET_USD_PER_HOUR:g} $/h of the package's market; {MODEL}, seed {SEED}, Ciw {ciw.__version__}. Queues",
        "and events are Ciw's. How long a pass takes is our cost model's figure in both: this checks our simulation,",
        "not our cost model.",
        "",
        "| workload | system | our simulator | Ciw | Ciw ÷ ours |",
        "|---|---|--:|--:|--:|",
    )
    orders = []
    for workload in WORKLOADS:
        rows = list(_rows(workload))
        for name, own, other in rows:
            line = f"| {workload} | {name} | {own:.2f} | {other:.2f} | {other / own:.2f} |"
            print(line, file=sys.stderr, flush=True)
            yield line
        ours, theirs = (sorted(rows, key=lambda row: -row[column]) for column in (1, 2))
        same = [row[0] for row in ours] == [row[0] for row in theirs]
        orders.append(f"* {workload}: {'the same order' if same else 'not the same order'}")
    yield ""
    yield from orders


def _rows(workload: str) -> Iterator[tuple[str, float, float]]:
    """(system, goodput by our simulator, by the other)."""
    market = eligible(snapshot(), providers=PROVIDERS, min_reliability=0.95)
    capacities = Capacities(task_of(llm_named(MODEL), workload_named(workload), SLO, MAX_MODEL_LEN))
    task = capacities.task
    ours = plan(
        market,
        task.llm,
        workload_named(workload),
        SLO,
        budget_usd_per_hour=BUDGET_USD_PER_HOUR,
        max_model_len=MAX_MODEL_LEN,
        seed=SEED,
        known=capacities,
    )
    own = ours.predicted.goodput_rps
    yield "our plan", own, goodput_rps(Fleet(task, tuple(members_of(ours, {})), ours.routes), own, seed=SEED)
    for found in compared(Setting(capacities, market.offers, BUDGET_USD_PER_HOUR, seed=SEED), OTHERS):
        if found.chosen:
            fleet = Fleet(task, found.chosen.members, found.chosen.pairing.routes)
            yield found.name, found.goodput_rps, goodput_rps(fleet, found.goodput_rps, seed=SEED)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
