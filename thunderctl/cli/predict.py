"""`thunderctl predict`: the cost model's answer for rows in the schema of the measured tables."""

import csv
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output

ADDED = ("predicted_ms", "calibrated", "reason")
MOST_CAUSES = 4
"""Why rows are not calibrated, that fit a line or two."""


def predict(
    source: Annotated[Path, typer.Option("--input", help="Rows to answer, as CSV; - reads standard input.")],
    target: Annotated[Path, typer.Option("--output", help="Where the answers go, as CSV; - is standard output.")],
) -> None:
    """Predict prefill and decode times for rows of a latency table. Measured values are never read.

    A row that cannot be predicted keeps its place, and `reason` says why. Where `calibrated` is no, nothing like the
    row was measured: what of it was not is said at the end. Columns: source, gpu, model, tp, pp, engine, phase, kind,
    batch, prompt_tokens, context_tokens, and note with what the value contains.

    Example: thunderctl predict --input examples/rows.csv --output -
    """
    if str(target) != "-":
        output.check_writable(target)
    rows, columns = _read(source)
    found = [_answer(row) for row in rows]
    answers = [answer for answer, _ in found]
    text = _csv_text([*(column for column in columns if column not in ADDED), *ADDED], rows, answers)
    if str(target) == "-":
        output.print_text(text)
    else:
        output.write_file(target, text)
    without = sum(bool(answer["reason"]) for answer in answers)
    output.narrate(
        f"Predicted {len(rows) - without:,} of {len(rows):,} rows"
        + (f"; {without:,} can't be, each for its reason" if without else "")
        + _guessed([unmeasured for _, unmeasured in found if unmeasured])
        + "."
    )


def _guessed(unmeasured: Sequence[Sequence[str]]) -> str:
    """How many rows are not calibrated, and for want of what: each cause with its rows, the most frequent ones."""
    if not unmeasured:
        return ""
    causes = Counter(cause for causes in unmeasured for cause in causes).most_common()
    more = [f"{len(causes) - MOST_CAUSES:,} more causes"] if len(causes) > MOST_CAUSES else []
    said = "; ".join([f"{count:,}: {cause}" for cause, count in causes[:MOST_CAUSES]] + more)
    return f"; {len(unmeasured):,} are not calibrated ({said})"


def _read(source: Path) -> tuple[list[dict[str, str]], list[str]]:
    from planner.costmodel.rows import KEY_COLUMNS
    from thunderctl.spec.inputs import read_text

    text = sys.stdin.read() if str(source) == "-" else read_text(source)
    reader = csv.DictReader(StringIO(text.removeprefix("\ufeff")))
    columns = [column.strip() for column in reader.fieldnames or ()]
    absent = [column for column in KEY_COLUMNS if column not in columns]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise SpecError(f"{source} has column {', '.join(twice)} more than once; expected each once.")
    if absent:
        raise SpecError(f"{source} has no column {', '.join(absent)}; expected {', '.join(KEY_COLUMNS)} and note.")
    reader.fieldnames = columns
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise SpecError(f"{source}, line {reader.line_num}: expected {len(columns)} columns, as in the header.")
            rows.append(row)
    except csv.Error as error:  # such as a quote that is never closed
        raise SpecError(f"{source}, line {reader.line_num}, is no CSV: {error}.") from error
    return rows, columns


def _answer(row: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What is added to a row, and what of it was not measured."""
    from planner.costmodel.measured import predict_ms, unmeasured_of
    from planner.costmodel.rows import NotPredictable

    try:
        milliseconds = predict_ms(row)
    except NotPredictable as error:
        return {"predicted_ms": "", "calibrated": "", "reason": str(error)}, ()
    unmeasured = unmeasured_of(row)
    calibrated = "no" if unmeasured else "yes"
    return {"predicted_ms": f"{milliseconds:.6g}", "calibrated": calibrated, "reason": ""}, unmeasured


def _csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, str]], answers: Sequence[Mapping[str, str]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **answer} for row, answer in zip(rows, answers, strict=True))
    return text.getvalue()
