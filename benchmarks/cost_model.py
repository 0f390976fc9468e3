"""How well the cost model predicts published measurements; writes `benchmarks/results/cost_model.md` and `.json`.

.venv/bin/python -m benchmarks.cost_model
"""

import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy

from benchmarks.arguments import takes_none
from benchmarks.distserve_curves import distserve_scores
from benchmarks.fit_cost_model import fit
from benchmarks.measured_rows import MEASURED, PROJECT, Floats, Group, Rows, read_rows
from benchmarks.naive_roofline import naive_s
from benchmarks.priors import priors
from benchmarks.scoring import Score, score
from planner.costmodel.coefficients import fitted
from planner.gpus import gpu_types

TARGET = PROJECT / "benchmarks" / "results" / "cost_model.md"
COMMAND = ".venv/bin/python -m benchmarks.cost_model"
NAMES = ("source", "GPU", "phase", "kind", "rows")
FIGURES = ("MAPE %", "P90 %", "median %", "rank")
MEAN, WORST, HELD_OUT, RANKED, NAIVE_RANK, RANK = 10.0, 25.0, 18.0, 30, 0.9, 0.95
"""Targets: mean and worst MAPE in %, mean of held-out groups, rank correlation of groups of so many rows at least."""


def scores(rows: Rows, predicted: Floats) -> dict[Group, Score]:
    return {
        group: score(predicted[rows.group_of_row == i], rows.measured_s[rows.group_of_row == i])
        for i, group in enumerate(rows.groups)
    }


def held_out(names: Sequence[str], split: Callable[[str], tuple[Rows, Rows]]) -> dict[Group, Score]:
    """Every part scored by a model that was fitted without it."""
    found: dict[Group, Score] = {}
    for name in names:
        print(f"fitting without {name}", file=sys.stderr)
        kept, left_out = split(name)
        found |= scores(left_out, left_out.predicted_s(fit(kept, network=name != "vidur")))
    return found


def main() -> None:
    if not MEASURED.is_dir():
        print("Skipped: the measured tables are not beside the project (../shared/data/measured).", file=sys.stderr)
        return
    rows = read_rows()
    text = "\n".join(report(rows)) + "\n"
    TARGET.write_text(text, encoding="utf-8")
    TARGET.with_suffix(".json").write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    print(text)
    print(f"wrote {TARGET.relative_to(PROJECT)}", file=sys.stderr)


def as_json(rows: Rows) -> dict[str, Any]:
    """The errors beside the naive roofline's, in %: what `make figures` draws."""
    whole = _whole(rows)
    naive = scores(whole, np.concatenate([naive_s(batch) for batch in whole.batches]))
    groups = [
        {"source": g.source, "gpu": g.gpu, "phase": g.phase, "rows": one.rows, "mape": one.mape, "naive": naive[g].mape}
        for g, one in scores(whole, whole.predicted_s(fitted())).items()
    ]
    return {"made_by": COMMAND.removeprefix(".venv/bin/"), "groups": groups}


def _whole(rows: Rows) -> Rows:
    """What was measured of whole layers, steps and requests."""
    return Rows(tuple(batch for batch in rows.measured_only().batches if not batch.group.elementwise))


def report(rows: Rows) -> Iterator[str]:
    coefficients = len(priors({gpu_types()[batch.group.gpu].architecture for batch in rows.batches}))
    yield from (
        "# The cost model against published measurements",
        "",
        f"Made by `{COMMAND}`. Python {platform.python_version()}, numpy {np.__version__},",
        f"scipy {scipy.__version__}; nothing is random. Rows with a flag are left out, as their own README asks.",
        "An error is predicted over measured minus 1. The coefficients are the package's, fitted to these rows by",
        "`benchmarks/fit_cost_model.py`; held-out groups are predicted by a fit without the group's GPU or source.",
        f"There are {coefficients} coefficients, each pulled a little to a prior (`benchmarks/priors.py`): for prefill",
        "attention, and for element-wise work on Turing, Volta and Hopper, the prior says more than the data.",
        "",
    )
    whole = _whole(rows)
    yield from _against_the_roofline(whole, rows.measured_only())
    yield from _parts(rows)
    yield from _held_out(rows, len(whole.groups))
    yield from _never_fitted()


def _against_the_roofline(whole: Rows, with_parts: Rows) -> Iterator[str]:
    naive = scores(whole, np.concatenate([naive_s(batch) for batch in whole.batches]))
    ours = scores(whole, whole.predicted_s(fitted()))
    lines = [(*_name(g), *_cells(one), f"{naive[g].mape:.1f}", _rank(naive[g].rank)) for g, one in ours.items()]
    yield from ("## Against the naive roofline", "")
    yield from _table((*NAMES, *FIGURES, "naive MAPE %", "naive rank"), lines)
    ranked = [one.rank for g, one in ours.items() if one.rows >= RANKED and naive[g].rank > NAIVE_RANK]
    merged = _merged(with_parts)
    yield from (
        "",
        f"- Mean of the {len(ours)} groups: **{_mean(ours):.1f} %** (target {MEAN:.0f} %; naive {_mean(naive):.1f} %).",
        f"- Worst group: {max(one.mape for one in ours.values()):.1f} % (target {WORST:.0f} %).",
        f"- Lowest rank correlation of the {len(ranked)} groups of {RANKED} rows or more whose naive one is above "
        f"{NAIVE_RANK}: {min(ranked):.3f} (target {RANK}).",
        f"- With the element-wise rows of the next table counted in their groups: mean {_mean(merged):.1f} %, worst "
        f"{max(one.mape for one in merged.values()):.1f} %.",
        "",
    )


def _parts(rows: Rows) -> Iterator[str]:
    parts = Rows(tuple(b for b in rows.batches if b.group.elementwise or b.group.source.endswith("-published")))
    found = scores(parts, parts.predicted_s(fitted()))
    yield from (
        "## Element-wise operations, and figures of papers",
        "",
        "The roofline has no answer for element-wise operations alone. Figures of papers stand in for tables of GPUs",
        "that have none; they took part in the fit, and do not make a GPU count as calibrated.",
        "",
        *_table((*NAMES, *FIGURES), [(*_name(group), *_cells(one)) for group, one in found.items()]),
        "",
    )


def _held_out(rows: Rows, groups: int) -> Iterator[str]:
    measured = rows.measured_only()
    gpus = sorted({group.gpu for group in measured.groups})
    sources = sorted({group.source for group in measured.groups})
    by_gpu = held_out(gpus, lambda gpu: (rows.without(gpu=gpu), measured.only(gpu=gpu)))
    by_source = held_out(sources, lambda source: (rows.without(source=source), measured.only(source=source)))
    lines = [(*_name(g), str(by_gpu[g].rows), *_short(by_gpu[g]), *_short(by_source[g])) for g in by_gpu]
    yield from (
        "## Held out",
        "",
        "A GPU that is left out takes the efficiencies of other cards of its architecture, else of the nearest one; an",
        "engine that is left out takes those of its class. With a source go the papers' figures of the same tables.",
        "",
        *_table((*NAMES, "without its GPU: MAPE %", "rank", "without its source: MAPE %", "rank"), lines),
        "",
        f"Mean of the {groups} groups, element-wise ones aside: **{_mean(by_gpu):.1f} %** without the GPU, "
        f"**{_mean(by_source):.1f} %** without the source (target {HELD_OUT:.0f} %).",
    )


def _never_fitted() -> Iterator[str]:
    """DistServe published fitted curves instead of rows: compared at prompts and batches of usual size."""
    lines = [
        (engine, model, "A100-SXM4-80GB", f"{phase} (TP {degrees})", *_cells(one))
        for (engine, model, phase, degrees), one in distserve_scores().items()
    ]
    yield from (
        "",
        "## Never fitted",
        "",
        "DistServe's published curves of two engines that no row above comes from: prompts of 256 to 2,048 tokens, and",
        "batches of 1 to 128 sequences of 512 tokens. vLLM of that time is taken as its class, eager; DistServe's own",
        "engine, written in C++, as the other. vLLM's OPT-66B at TP 2 is left out: it ran short of memory for KV.",
        "",
        *_table(("engine", "model", "GPU", "phase", "points", *FIGURES), lines),
    )


def _merged(rows: Rows) -> dict[Group, Score]:
    """The scores with element-wise rows in the groups of their source, GPU, phase and kind."""
    merged = Rows(tuple(replace(b, group=replace(b.group, elementwise=False)) for b in rows.batches))
    return scores(merged, merged.predicted_s(fitted()))


def _mean(found: dict[Group, Score]) -> float:
    return float(np.mean([one.mape for group, one in found.items() if not group.elementwise]))


def _name(group: Group) -> tuple[str, ...]:
    return group.source, group.gpu, group.phase, f"{group.kind}, element-wise" if group.elementwise else group.kind


def _cells(one: Score) -> tuple[str, ...]:
    return str(one.rows), f"{one.mape:.1f}", f"{one.p90:.1f}", f"{one.median:+.1f}", _rank(one.rank)


def _short(one: Score) -> tuple[str, ...]:
    return f"{one.mape:.1f}", _rank(one.rank)


def _rank(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("---" if i < 4 else "--:" for i in range(len(head))) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    takes_none(__doc__)
    main()
