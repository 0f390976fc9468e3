"""`make figures`: draw docs/images/*.svg from the data in benchmarks/results, in a second; nothing is computed here.

Run by `.venv/bin/python -m benchmarks.figures`. What a picture lacks is made by `python -m benchmarks.NAME`
(the recording: `benchmarks.record_demo`).
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.arguments import takes_none
from benchmarks.figures import failure, overview, prediction, rivals, sweep
from benchmarks.figures.canvas import Canvas
from benchmarks.figures.recording import played

ROOT = Path(__file__).parents[2]
RESULTS, IMAGES = ROOT / "benchmarks" / "results", ROOT / "docs" / "images"
DRAWN: Mapping[str, Callable[[Any], Canvas]] = {
    "budgets": sweep.drawn,
    "baselines": rivals.drawn,
    "through_failure": failure.drawn,
    "cost_model": prediction.drawn,
}
"""How the data of a benchmark are drawn; picture, data and benchmark have the same name."""
CAST = RESULTS / "demo.cast"


def main() -> int:
    missing = 0
    for name, svg in pictures():
        if svg is None:
            missing += 1
            print(f"Left out {name}: its data are not there.", file=sys.stderr)
            continue
        (IMAGES / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(f"Wrote docs/images/{name}.svg", file=sys.stderr)
    return 1 if missing else 0


def pictures() -> Iterator[tuple[str, str | None]]:
    """Each by name; None where a benchmark has not written its data yet: `python -m benchmarks.NAME`."""
    yield "overview", overview.drawn().svg
    for name, drawn in DRAWN.items():
        data = RESULTS / f"{name}.json"
        yield name, drawn(json.loads(data.read_text())).svg if data.exists() else None
    yield "demo", played(CAST.read_text()) if CAST.exists() else None


if __name__ == "__main__":
    takes_none(__doc__)
    sys.exit(main())
