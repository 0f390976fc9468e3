"""How far each one's predictions lie from measured rows: ours as shipped, ours without the rows' source, and peers'."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.fit_cost_model import fit
from benchmarks.measured_rows import MEASURED, Floats, read_rows, read_table
from benchmarks.peers.asked import Peer, silicon_rows
from benchmarks.peers.rows import PASSES, Row, grouped, of_passes, of_silicon
from benchmarks.scoring import Score, score
from planner.costmodel.coefficients import Coefficients
from planner.costmodel.measured import predict_s

PEERS = {
    "AIConfigurator": ("aic", ("step", "request")),
    "vllm-sr-sim": ("sr_sim", ("step", "request")),
    "GenZ": ("genz", ("step",)),
}
"""Their sides, and the kinds of rows that they know."""
HEAD = "| rows | figure | n | ours | ours, without the source | {} |"
SEEN = ("splitwise-sim", "aiconfigurator")
"""Sources that our coefficients were fitted to, and that are held out once each."""

Predictions = Mapping[str, Sequence[float | None]]
"""By who predicts: milliseconds for each row, None where there is no answer."""


def measured() -> list[Row]:
    """All rows; none of a table that is not there."""
    silicon = silicon_rows()
    passes = MEASURED / f"{PASSES}.csv"
    found = of_passes(read_table(passes)) if passes.is_file() else []
    if silicon:
        with silicon.open(encoding="utf-8") as lines:
            found += of_silicon(csv.DictReader(lines))
    return found


def predictions(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    every = read_rows()
    without = {source: fit(every.without(source=source)) for source in SEEN}
    own = {
        "ours": [ours_ms(row, None) for row in rows],
        "ours, without the source": [ours_ms(row, without[source_of(row)]) if source_of(row) else None for row in rows],
    }
    return own | {name: _asked(side, rows, kinds) for name, (side, kinds) in PEERS.items()}


def source_of(row: Row) -> str:
    """The source among those that ours was fitted to; none of what it never saw."""
    if row.kind == "step":
        return SEEN[0]
    return SEEN[1] if row.model == "llama-3.1-8b" else ""


def ours_ms(row: Row, coefficients: Coefficients | None) -> float | None:
    """TTFT under a closed loop is mostly waiting, which our cost model has no formula for: that is simulated."""
    if row.kind == "request" and row.phase == "prefill":
        return None
    return float(predict_s(row.case, row.sizes, coefficients)) * 1e3


def _asked(side: str, rows: Sequence[Row], kinds: Sequence[str]) -> list[float | None]:
    known = [row for row in rows if row.kind in kinds]
    print(f"asking {side} for {len(known)} rows", file=sys.stderr)
    with Peer(side) as peer:
        told = peer.ask("predict", rows=[row.question for row in known])
    if told.refused:
        raise RuntimeError(f"{side} predicted nothing: {told.refused}")
    answers = iter(told.found)
    return [figure(next(answers), row) if row.kind in kinds else None for row in rows]


def figure(answer: dict[str, float] | str, row: Row) -> float | None:
    """The figure that was measured, of an answer that is a reason where there is none."""
    if isinstance(answer, str):
        return None
    name = "ttft_ms" if row.phase == "prefill" else "tpot_ms"
    return answer.get(name) or None


def table(rows: Sequence[Row], predicted: Predictions) -> Iterator[str]:
    """Mean error and rank correlation by set of rows; a peer's only where it answers all of them."""
    peers = list(predicted)[2:]
    yield HEAD.format(" | ".join(peers))
    yield "|---|---|--:|" + "--:|" * (2 + len(peers))
    places = {id(row): i for i, row in enumerate(rows)}
    for (name, phase), own in grouped(rows).items():
        what = "TTFT" if phase == "prefill" else "TPOT"
        where = [places[id(row)] for row in own]
        truth = np.array([row.measured_ms for row in own])
        cells = (_cell([series[i] for i in where], truth) for series in predicted.values())
        yield f"| {name} | {what if own[0].kind == 'request' else 'time'} | {len(own)} | {' | '.join(cells)} |"


def _cell(found: Sequence[float | None], truth: Floats) -> str:
    """`7.0 (0.99)`: MAPE in per cent and Spearman's rank."""
    answered = [i for i, one in enumerate(found) if one is not None]
    if not answered:
        return "–"
    made: Score = score(np.array([found[i] for i in answered], dtype=float), truth[answered])
    missing = "" if len(answered) == len(found) else f", {len(answered)} rows"
    return f"{made.mape:.1f} ({made.rank:.2f}{missing})"
