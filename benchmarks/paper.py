"""Write `benchmarks/results/paper.md`: the paper's 32 GPUs, planned by us and by others, beside what the paper says.

Run by `.venv/bin/python -m benchmarks.paper [--quick]`. Everything is computed anew from the package's own tables, by a
process a core; `--quick` takes a few cells only and prints what it would write. All figures are simulated.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from benchmarks import paper_figure, paper_tables, paper_text, paper_verdict
from benchmarks.paper_case import Case, Measured, measured
from benchmarks.paper_cells import LOADED, Cell, Solved, base_slo, solved, task_at, workload_of
from benchmarks.paper_fleet import UNLIKE, Basis, fleet
from benchmarks.paper_plans import PUBLISHED, published_plan
from planner.document import plan_to_json

RESULTS = Path(__file__).parent / "results"
TARGET, PICTURE = RESULTS / "paper.md", RESULTS / "paper_attainment.png"
PAPER_MODEL, OTHER_MODELS = "llama-30b", ("qwen3-32b", "qwen3-30b-a3b")
WORKLOADS = ("coding", "conversation")
GBIT_PER_S, USUAL_GBIT_PER_S = (5.0, 10.0, 40.0), 10.0
SCALE, OTHER_SCALES = 20.0, (10.0, 40.0)
MIXES = (*WORKLOADS, "1024/64", "512/256")
"""Of the 8 GPUs: the presets, and requests of which each has so many prompt and output tokens."""
Asked = TypeVar("Asked")
Found = TypeVar("Found")


def main(*, quick: bool) -> None:
    started = time.perf_counter()
    cells, cases = (QUICK, QUICK_CASES) if quick else (CELLS, CASES)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = each(pool, solved, cells)
        others = each(pool, measured, cases)
    lines = written(found, others, time.perf_counter() - started)
    if quick:
        print("\n".join(lines))
        return
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    paper_figure.draw([one for one in found if one.cell in DRAWN], PICTURE)
    for workload in PUBLISHED:
        target = RESULTS / f"published_{workload}.plan.json"
        target.write_text(json.dumps(published_document(workload), indent=1) + "\n", encoding="utf-8")


def each(pool: ProcessPoolExecutor, solve: Callable[[Asked], Found], asked: Sequence[Asked]) -> list[Found]:
    """In the order asked; what is done is told as it is done."""
    waiting = {pool.submit(solve, one): one for one in asked}
    for number, done in enumerate(as_completed(waiting), 1):
        print(f"{number} of {len(asked)}: {waiting[done]}", file=sys.stderr)
        done.result()
    return [future.result() for future in waiting]


def published_document(workload: str) -> dict[str, object]:
    task = task_at(Cell(PAPER_MODEL, workload, Basis.OURS, USUAL_GBIT_PER_S, SCALE))
    return plan_to_json(published_plan(workload_of(workload), task, fleet(UNLIKE, Basis.OURS, USUAL_GBIT_PER_S)))


def cells_of(
    models: Iterable[str], bases: Iterable[Basis], links: Iterable[float], scales: Iterable[float]
) -> list[Cell]:
    bases, links, scales = tuple(bases), tuple(links), tuple(scales)
    return [
        Cell(model, workload, basis, link, scale, model == PAPER_MODEL and (link, scale) == (USUAL_GBIT_PER_S, SCALE))
        for model in models
        for workload in WORKLOADS
        for basis in bases
        for link in links
        for scale in scales
    ]


MAIN = cells_of([PAPER_MODEL], Basis, GBIT_PER_S, [SCALE])
SCALED = cells_of([PAPER_MODEL], Basis, [USUAL_GBIT_PER_S], OTHER_SCALES)
OTHERS = cells_of(OTHER_MODELS, [Basis.OURS], [USUAL_GBIT_PER_S], [SCALE])
CELLS = [*MAIN, *SCALED, *OTHERS]
CASES = [Case(mix, basis, SCALE) for basis in Basis for mix in MIXES]
CASES += [Case(mix, Basis.PAPER, scale) for mix in WORKLOADS for scale in OTHER_SCALES]
QUICK, QUICK_CASES = [cell for cell in MAIN if cell.ablations and cell.basis is Basis.PAPER], CASES[:1]
DRAWN = frozenset(cell for cell in MAIN if cell.ablations)


def written(found: Sequence[Solved], cases: Sequence[Measured], seconds: float) -> list[str]:
    usual = [one for one in found if one.cell.ablations]
    scales = ", ".join(f"{scale:g}" for scale in sorted((SCALE, *OTHER_SCALES)))
    told = paper_text.DEADLINES.format(loaded=LOADED, scale=SCALE, scales=scales, picture=PICTURE.name)
    deadlines = told.strip().split("\n")
    sections = (
        ("Ours beside the others, all cells", paper_verdict.verdict(found)),
        ("Throughput at 90 % attainment", paper_tables.throughput(found)),
        ("Against A100s at the same money", paper_tables.against_a100s(found)),
        ("Tightest deadlines", [*deadlines, "", *paper_tables.deadlines(found)]),
        ("Plans side by side", [*paper_tables.prefilling(usual), "", *paper_tables.plans(usual)]),
        ("Without a part of the planner", paper_tables.ablations(usual)),
        ("4 x A40 and 4 x RTX 3090 Ti", [*paper_text.CASE.strip().split("\n"), "", *paper_tables.case(cases)]),
    )
    bases = {cell.workload: base_slo(cell) for cell in QUICK}
    lines = paper_text.header(bases, SCALE, seconds)
    for title, body in sections:
        lines += ["", f"## {title}", "", *body]
        if title.startswith("Ours"):
            lines += ["", *gate(found), "", *paper_text.READING.strip().split("\n")]
    return lines


def gate(found: Sequence[Solved]) -> list[str]:
    lost = paper_verdict.lost(found)
    if not lost:
        return ["On the same 32 GPUs ours is never below any baseline or published plan."]
    return ["On the same 32 GPUs ours is below another in:", "", *lost]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few cells only, printed")
    main(quick=parser.parse_args().quick)
