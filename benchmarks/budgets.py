"""Write `benchmarks/results/budgets.json`: what more money buys, as `thunderctl plan --budget 5..40` finds it.

Run by `.venv/bin/python -m benchmarks.budgets`, on a quiet machine: searches end by the clock. Prices are of the
dated snapshot in the package, so that everybody plans the same market. Nothing here is measured on GPUs: goodputs are
simulated. `make figures` draws it.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import takes_none

TARGET = Path(__file__).parent / "results" / "budgets.json"
COMMAND = Path(sys.executable).with_name("thunderctl")
WORKLOADS = ("conversation", "coding")
BUDGETS = "5..40"


def main() -> None:
    swept = {workload: _swept(workload) for workload in WORKLOADS}
    document = {
        "made_by": "python -m benchmarks.budgets",
        "command": f"thunderctl plan --budget {BUDGETS} --workload WORKLOAD --json",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "sweeps": swept,
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {TARGET.name}", file=sys.stderr)


def _swept(workload: str) -> dict[str, Any]:
    """The command's own document, and how long it took; in an empty folder, so that no spec has a say."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [COMMAND, "plan", "--budget", BUDGETS, "--workload", workload, "--json"],
            cwd=folder,
            env={**os.environ, "THUNDER_HOME": f"{folder}/home"},
            stdout=subprocess.PIPE,
            check=True,
        )
    return {**json.loads(done.stdout), "seconds": round(time.perf_counter() - started, 1)}


if __name__ == "__main__":
    takes_none(__doc__)
    main()
