"""Write `benchmarks/results/adapting_day.md`: simulated days on which the workload goes back and forth.

Run by `.venv/bin/python -m benchmarks.adapting_day`; it needs nothing but the project. The controller's own assessments
and policy, at its default pace, against plans that stay as they are. All of it is simulated.
"""

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.arguments import takes_none
from tests.thunderctl.controller.adapting.days import (
    CODING,
    CONVERSATION,
    Day,
    Lived,
    fleet,
    hourly,
    lived,
    suiting,
    swinging,
)
from thunderctl.controller.adapting.drift import Pace

TARGET = Path(__file__).parent / "results" / "adapting_day.md"
ROOT = Path(__file__).parents[1]
SEED, RATES, ASSESS_S = 20260901, (0.5, 1.5), 30.0
DWELLS_MIN = (120, 60, 30)


@dataclass(frozen=True, slots=True)
class Row:
    """One day: what was made of it, and attainment of the day and of its worst hour against a plan that stays."""

    dwell_min: int
    stays: str
    day: Day
    made: Lived
    adaptive: float
    static: float
    worst_hour: float


def main() -> None:
    rows = [row for dwell_min in DWELLS_MIN for row in rows_of(dwell_min)]
    TARGET.write_text("\n".join([*header(), *table(rows)]) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


def rows_of(dwell_min: int) -> list[Row]:
    """The day is lived from the plan for both workloads together; it is held against that one and each one's own."""
    start, day = suiting(fleet(), CODING, CONVERSATION), swinging(SEED, dwell_min * 60.0, RATES)
    made = lived(start, day, pace=Pace(), assess_s=ASSESS_S)
    by_hour, adaptive = hourly(start, day, made)
    print(f"{dwell_min} min: {len(made.changes)} changes", file=sys.stderr)
    rows = []
    for name, plan in (
        ("both", start),
        ("conversation", suiting(start, CONVERSATION)),
        ("coding", suiting(start, CODING)),
    ):
        hours, static = hourly(plan, day)
        rows.append(Row(dwell_min, name, day, made, adaptive, static, float(np.min(by_hour - hours))))
    return rows


def header() -> list[str]:
    return [
        "# A day on which the workload goes back and forth",
        "",
        f"Made by `.venv/bin/python -m benchmarks.adapting_day` (seed {SEED}), Python {platform.python_version()},",
        f"numpy {np.__version__}. Everything here is simulated: 24 hours, qwen3-8b on four L4s, TTFT 4 s, TPOT 75 ms.",
        f"Coding and conversation take turns, each for the stated minutes give or take half, at {RATES[0]} to",
        f"{RATES[1]} requests/s. The controller looks every {ASSESS_S:.0f} s, all else is the default. Its",
        "proposals are put in force as the assessment has them, without the longer simulations that confirm them live.",
        "It begins with the plan for both workloads together. Attainment is of all requests; the worst hour is the",
        "least of what it attains above the plan that stays, hour by hour, in points.",
        "",
    ]


def table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| minutes | requests | turns | changes | flips | plan that stays, for | attains | adapting | worst hour |",
        "| --: | --: | --: | --: | --: | --- | --: | --: | --: |",
    ]
    lines += [
        f"| {one.dwell_min} | {len(one.day.requests.arrival_s):,} | {len(one.day.spells) - 1} | "
        f"{len(one.made.changes)} | {one.made.flips} | {one.stays} | {one.static:.1%} | "
        f"{one.adaptive:.1%} | {100 * one.worst_hour:+.1f} |"
        for one in rows
    ]
    return lines


if __name__ == "__main__":
    takes_none(__doc__)
    main()
