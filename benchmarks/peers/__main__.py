"""Write `benchmarks/results/peers.md`: planners and simulators that PyPI carries, beside ours, on the same inputs.

    requirements/install.sh peers && .venv/bin/python -m benchmarks.peers [--only plans|predictions|speed]

`make bench` does both. `--only` measures one section again and leaves the others of the page as they are. Without
`.venv-peers`, nothing is measured. Nothing here is measured on GPUs: fleets are scored by simulation or by formulas,
and predictions are held against tables that others measured.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.measured_rows import MEASURED
from benchmarks.peers import text
from benchmarks.peers.asked import PYTHON, versions
from benchmarks.peers.page import sections_of, written
from benchmarks.peers.planning import OURS, PLANNERS, refusals, solved_all, table, verdict
from benchmarks.peers.predicting import measured, predictions
from benchmarks.peers.predicting import table as predicted_table
from benchmarks.peers.speed import HEAD, speeds
from thunderctl.calibration.record import Machine

TARGET = Path(__file__).parents[1] / "results" / "peers.md"
PACKAGES = ("aiconfigurator", "vllm-sr-sim", "genz-llm")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=list(SECTIONS), help="the section to measure again")
    asked = options.parse_args()
    if not PYTHON.exists():
        print("Skipped: no .venv-peers; requirements/install.sh peers makes it.", file=sys.stderr)
        return
    for name in [asked.only] if asked.only else reversed(SECTIONS):  # what takes longest comes last
        title, section = SECTIONS[name]
        lines = [_when(), "", *section()]
        known = sections_of(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
        titles = [title for title, _ in SECTIONS.values()]
        TARGET.write_text(written(list(_header()), titles, known | {title: lines}, text.LEFT_OUT), encoding="utf-8")
    print(f"Wrote {TARGET.name}", file=sys.stderr)


def _header() -> Iterator[str]:
    yield from (
        "# Planners and simulators that PyPI carries, beside ours",
        "",
        f"Made by `.venv/bin/python -m benchmarks.peers`: {versions(PACKAGES)}.",
        "The router beside vllm-router: [router.md](router.md). What systems offer:",
        "[docs/peers.md](../../docs/peers.md).",
    )


def _when() -> str:
    """As it begins."""
    machine, load = Machine.here(), os.getloadavg()[0]
    made = f"{datetime.now(UTC):%Y-%m-%d}, {machine.cores} cores of {machine.cpu}, load average {load:.1f}"
    return f"({made}; Python {platform.python_version()}, numpy {np.__version__})"


def _planning() -> Iterator[str]:
    results = list(solved_all())
    yield from (*text.CASES_TEXT, "", *table(results), "")
    yield from (verdict(results, scorer) for scorer in (OURS, *PLANNERS))
    yield from ("", *text.PLANNED_TEXT)
    told = list(refusals(results))
    if told:
        yield from ("", "No figure (–):", "", *told)


def _predicting() -> Iterator[str]:
    yield from (*text.PREDICTING_TEXT, "")
    rows = measured()
    if not MEASURED.is_dir() or not rows:
        yield "The measured tables were not beside the project: left out."
        return
    yield from (*predicted_table(rows, predictions(rows)), "", *text.PREDICTED_TEXT)


def _speed() -> Iterator[str]:
    yield from (*text.SPEED_TEXT, "", *HEAD)
    yield from (one.line for one in speeds())


SECTIONS: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "plans": ("Plans", _planning),
    "predictions": ("Predictions against measurements", _predicting),
    "speed": ("Simulated requests per second", _speed),
}
"""In the order of the page, with their titles."""


if __name__ == "__main__":
    main()
