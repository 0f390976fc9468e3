"""Write `benchmarks/results/baselines.md` and `.json`: our plan beside every baseline, same market, same budget.

Run by `.venv/bin/python -m benchmarks.baselines`. Each system rents what suits it, in its best configuration on the
same cost model, and all are scored by the same simulator: nothing here is measured on GPUs. Lines are printed as they
are found. The second market is the shared data beside the project, and is left out where that is absent.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from benchmarks.arguments import takes_none
from planner.baselines.compare import BASELINES, Compared, compared
from planner.baselines.setting import Setting
from planner.market import Market, eligible, offers_from_csv, snapshot
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import plan, task_of
from planner.traces import workload_named
from planner.workload import Slo

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).parent / "results" / "baselines.md"
OFFERS = ROOT.parent / "shared" / "data" / "markets" / "offers_2026.csv"
MODEL, SLO, MAX_MODEL_LEN, SEED = "qwen3-32b", Slo(2.0, 0.15, 0.9), 8192, 0
WORKLOADS = ("conversation", "coding")
BUDGETS_USD_PER_HOUR = (5.0, 14.0, 30.0, 60.0)
PROVIDERS = ("vast", "aws", "runpod", "ssh")
LINE = "| {} | {} | {:g} | {:.2f} | {:.1f} | {} | {:.2f} | {:.2f} | {:.0f} |"


@dataclass(frozen=True, slots=True)
class Row:
    """One market, workload and budget: our goodput, and what each baseline's is."""

    market: str
    workload: str
    budget_usd_per_hour: float
    goodput_rps: float
    usd_per_hour: float
    baselines: tuple[Compared, ...]
    seconds: float

    @property
    def best_rps(self) -> float:
        return max(one.goodput_rps for one in self.baselines)

    @property
    def ratio(self) -> float:
        return self.goodput_rps / self.best_rps

    @property
    def line(self) -> str:
        others = " | ".join(f"{one.goodput_rps:.2f}" for one in self.baselines)
        own = self.goodput_rps, self.usd_per_hour
        found = self.market, self.workload, self.budget_usd_per_hour, *own, others
        return LINE.format(*found, self.ratio, self.goodput_rps / self.usd_per_hour, self.seconds)

    @property
    def as_json(self) -> dict[str, Any]:
        """What `make figures` draws."""
        return {
            "market": self.market,
            "workload": self.workload,
            "budget_usd_per_hour": self.budget_usd_per_hour,
            "cost_usd_per_hour": self.usd_per_hour,
            "goodput_rps": {"thunderctl": self.goodput_rps} | {one.name: one.goodput_rps for one in self.baselines},
        }


def main() -> None:
    rows = []
    for row in _rows():
        rows.append(row)
        print(row.line, flush=True)
        TARGET.write_text("\n".join(_written(rows)) + "\n", encoding="utf-8")
    table = {"made_by": "python -m benchmarks.baselines", "rows": [row.as_json for row in rows]}
    TARGET.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


def _markets() -> Iterator[tuple[str, Market]]:
    yield "package", eligible(snapshot(), providers=PROVIDERS, min_reliability=0.95)
    if OFFERS.exists():
        whole = Market(offers_from_csv(OFFERS.read_text(), OFFERS.name), "2026", "file")
        yield OFFERS.stem, whole
    else:
        print("shared data not beside the project: its market is left out", file=sys.stderr)


def _rows() -> Iterator[Row]:
    for name, market in _markets():
        for workload in WORKLOADS:
            task = task_of(llm_named(MODEL), workload_named(workload), SLO, MAX_MODEL_LEN)
            capacities = Capacities(task)
            for budget in BUDGETS_USD_PER_HOUR:
                yield _row(name, market, workload, capacities, budget)


def _row(name: str, market: Market, workload: str, capacities: Capacities, budget: float) -> Row:
    started = time.perf_counter()
    ours = plan(
        market,
        capacities.task.llm,
        workload_named(workload),
        SLO,
        budget_usd_per_hour=budget,
        max_model_len=MAX_MODEL_LEN,
        seed=SEED,
        known=capacities,
    )
    seconds = time.perf_counter() - started
    setting = Setting(capacities, market.offers, budget, seed=SEED)
    found = tuple(compared(setting))
    return Row(name, workload, budget, ours.predicted.goodput_rps, ours.cost_usd_per_hour, found, seconds)


def _written(rows: Sequence[Row]) -> Iterator[str]:
    yield from (
        "# Our plan beside the baselines, at the same budget",
        "",
        "Written by `.venv/bin/python -m benchmarks.baselines`. All goodputs are simulated, in requests/s at the",
        f"attainment target; {MODEL}, TTFT {SLO.ttft_s} s, TPOT {SLO.tpot_s} s, {SLO.attainment:.0%}, seed {SEED}.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
        f"| market | workload | budget | ours | its $/h | {' | '.join(BASELINES)} | ours ÷ best | per $ | plan s |",
        "|---|---|" + "--:|" * (6 + len(BASELINES)),
    )
    yield from (row.line for row in rows)
    yield ""
    for name in BASELINES:
        yield _mean_line(name, rows)
    mean = exp(sum(log(row.ratio) for row in rows) / len(rows))
    lost = sum(row.ratio < 1 for row in rows)
    yield f"* best baseline of each row: {mean:.2f} times, lost {lost} of {len(rows)}"
    yield ""
    yield "A row is lost where a baseline's goodput is more, however little. Where a baseline serves nothing in a row,"
    yield "that row is not in its mean."


def _mean_line(name: str, rows: Sequence[Row]) -> str:
    """The geometric mean of our goodput against a baseline's."""
    pairs = [(row.goodput_rps, one.goodput_rps) for row in rows for one in row.baselines if one.name == name]
    ratios = [ours / theirs for ours, theirs in pairs if theirs > 0]
    if not ratios:
        return f"* {name}: serves nothing"
    mean = exp(sum(map(log, ratios)) / len(ratios))
    return f"* {name}: ours is {mean:.2f} times on geometric mean, {min(ratios):.2f} to {max(ratios):.2f}"


if __name__ == "__main__":
    takes_none(__doc__)
    main()
