"""Write `benchmarks/results/controller_at_scale.md`: the controller's own code over 500 replicas and three days.

Run by `.venv/bin/python -m benchmarks.controller_at_scale [--hours 72] [--replicas 500] [--losses 200]`. It needs the
price samples and traces in `../shared/data`. The loop, observer, decisions, policies and hands are the real ones; the
clock, provider, agents, router, `up` and all requests are simulated.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.fluid.days import Days
from benchmarks.fluid.fixed import Fixed, bought, kept, most_rps, needs, oracle, sized
from benchmarks.fluid.fleet import GPUS, SLO, large_plan, rated
from benchmarks.fluid.lived import Lived, Loss
from benchmarks.fluid.load import HOUR_S, Load, days
from benchmarks.fluid.prices import SAMPLES, Prices, read_prices
from benchmarks.fluid.rates import Rates
from benchmarks.fluid.report import page
from benchmarks.fluid.service import Curve
from benchmarks.fluid.windows import compared, curve_of, served_rps
from planner.advice.startup import startup
from planner.deployment import Plan
from thunderctl.calibration.record import Machine
from thunderctl.spec.spec import Spec

TARGET = Path(__file__).parent / "results" / "controller_at_scale.md"
ROOT = Path(__file__).parents[1]
SEED = 20260801
FILLED = 0.95
"""Part of what all machines serve at best that comes in the hour that asks the most of them."""
ROOM = 1.1
"""Times what all machines cost at the beginning: the budget."""
WINDOWS = 8
ASSESS_S = 240.0


@dataclass(frozen=True, slots=True)
class Made:
    """The fleet and what it is asked for."""

    plan: Plan
    load: Load
    prices: Prices
    rates: Rates
    curve: Curve
    losses: tuple[Loss, ...]


def main() -> None:
    given = arguments()
    if not SAMPLES.exists():
        print("Skipped: the price samples are not beside the project (../shared/data).", file=sys.stderr)
        return
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["THUNDER_HOME"] = folder
        made = setting(given)
        lived = lived_through(made, given, Path(folder) / "controller")
    tell("the fleets to compare with")
    others = fixed_fleets(made, lived)
    tell("windows, request by request")
    windows = list(compared(lived.windows, made.load, made.rates, made.curve, SEED))
    lines = page(made.load, made.plan, lived, others, windows, made.curve, command(given), machine(began), given.tick)
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=72.0)
    parser.add_argument("--replicas", type=int, default=500)
    parser.add_argument("--losses", type=int, default=200, help="in 72 hours; fewer in fewer")
    parser.add_argument("--tick", type=float, default=60.0, help="seconds between the controller's ticks")
    return parser.parse_args()


def setting(given: argparse.Namespace) -> Made:
    """The load is such that the hour that asks the most takes FILLED of what the fleet serves at best."""
    prices, shape = read_prices(), days(given.hours)
    first, each = float(shape.coding_share[:60].mean()), given.replicas / len(GPUS)
    tell(f"the plan of {given.replicas} replicas")
    plan = large_plan(given.replicas, prices, coding_share=first, rate_rps=3.0 * given.replicas, budget=0.0)
    rates = Rates(plan)
    tell("the curve of a cell, request by request")
    curve = curve_of(large_plan(12, prices, coding_share=first, rate_rps=36.0, budget=0.0), rates)
    scale = FILLED * min(most_rps(need, each) / need.rate_rps for need in needs(shape, rates, curve))
    plan = rated(plan, served_rps(plan, rates, first) * curve.knee)
    plan = replace(plan, budget_usd_per_hour=plan.cost_usd_per_hour * ROOM)
    return Made(plan, shape.scaled(scale), prices, rates, curve, losses(given))


def losses(given: argparse.Namespace) -> tuple[Loss, ...]:
    """At random times, half of them with two minutes' notice."""
    random = np.random.default_rng(SEED)
    count = round(given.losses * given.hours / 72)
    times = np.sort(random.uniform(0.0, given.hours * HOUR_S, count))
    return tuple(Loss(float(at), bool(random.random() < 0.5), float(random.random())) for at in times)


def lived_through(made: Made, given: argparse.Namespace, folder: Path) -> Lived:
    section = {"scale": "down-and-up", "min_replicas": 12, "assess_s": ASSESS_S}
    spec = Spec.model_validate({"controller": section, "budget": {"max_total_usd": 1e6, "max_hours": 100}})
    minutes = np.linspace(30, made.load.minutes - 30, WINDOWS).astype(int)
    lived = Days(
        made.plan,
        spec,
        made.load,
        made.prices,
        made.rates,
        made.curve,
        list(made.losses),
        folder,
        tick_s=given.tick,
        windows_at=tuple(int(one) for one in minutes),
        tell=tell,
    )
    return lived.live()


def fixed_fleets(made: Made, lived: Lived) -> dict[str, Fixed]:
    """Static ones that are sized knowing all hours, for all of them and for the controller's money; and the oracle."""
    hours, each = needs(made.load, made.rates, made.curve), len(made.plan.instances) / len(GPUS)
    usd = np.array([made.prices.at(gpu, 0.0) for gpu in GPUS])
    known = (made.load, made.prices, made.rates, made.curve, SLO.ttft_s)
    start_s = startup(made.plan.llm, made.plan.instances[0]).seconds
    spend = lived.spent_usd / (made.load.minutes / 60)
    peak, same = sized(hours, usd, each), bought(hours, usd, each, spend)
    return {
        "static for the peak, losses replaced": kept(peak, *known, made.losses, start_s),
        "static for the peak, losses stay": kept(peak, *known, made.losses, None),
        "static for the controller's money, losses replaced": kept(same, *known, made.losses, start_s),
        "oracle": oracle(*known, each, made.plan.budget_usd_per_hour),
    }


def command(given: argparse.Namespace) -> str:
    usual = given.hours == 72 and given.replicas == 500 and given.losses == 200 and given.tick == 60
    more = f" --hours {given.hours:g} --replicas {given.replicas} --losses {given.losses} --tick {given.tick:g}"
    return f".venv/bin/python -m benchmarks.controller_at_scale{'' if usual else more}"


def machine(began: float) -> str:
    took, cpu = time.process_time() - began, Machine.here().cpu
    return f"one core of {cpu}, Python {platform.python_version()}, numpy {np.__version__}: {took / 60:.1f} min of CPU"


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
