"""Pictures of simulated runs and sweeps. matplotlib (500 ms) is imported below this package only, when one is drawn."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.advice.frontier import Point
    from planner.deployment import Plan
    from planner.replay import Replay
    from planner.workload import Slo


def simulation_figure(
    path: Path, run: "Replay", slo: "Slo", *, plan: "Plan", workload: str, rate_rps: float, seed: int
) -> None:
    """Draw a run into a PNG: what clients would see, attainment over time, and how much each replica was used.

    Raises SpecError for a name that is not a PNG's, and OSError where the file can't be written.
    """
    check_picture(path)
    _keep_caches_at_home()
    from thunderctl.plots.figure import Caption, figure_of, save

    with warnings.catch_warnings(action="ignore"):  # of glyphs or layout: nothing that its reader can mend
        save(figure_of(run, slo, Caption(plan, workload, rate_rps, seed)), path)


def frontier_figure(path: Path, points: "Sequence[Point]", *, model: str, slo: "Slo") -> None:
    """Draw a sweep over budgets into a PNG. Raises SpecError and OSError as above."""
    check_picture(path)
    _keep_caches_at_home()
    from thunderctl.plots.figure import save
    from thunderctl.plots.sweep import sweep_of

    with warnings.catch_warnings(action="ignore"):  # of glyphs or layout: nothing that its reader can mend
        save(sweep_of(points, model, slo), path)


def check_picture(path: Path) -> None:
    """Raise SpecError for a picture that can't be drawn; a run of minutes need not come first."""
    if path.suffix.lower() != ".png":
        raise SpecError(f"The picture {path} is not a PNG; expected a name that ends in .png.")


def _keep_caches_at_home() -> None:
    """matplotlib caches its list of fonts; like all that this tool writes, it goes below THUNDER_HOME."""
    from thunderctl.home import thunder_home

    os.environ.setdefault("MPLCONFIGDIR", str(thunder_home() / "matplotlib"))
