"""Measured latency rows, read from `../shared/data/measured` and `benchmarks/data`, in batches of one case each."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from planner.costmodel.coefficients import Coefficients
from planner.costmodel.measured import predict_s
from planner.costmodel.rows import Case, Sizes, case_of, notes_of, sizes_of

PROJECT = Path(__file__).resolve().parent.parent
MEASURED = PROJECT.parent / "shared" / "data" / "measured"
PUBLISHED = PROJECT / "benchmarks" / "data" / "published_points.csv"
TABLES = (
    *("helix_a100_l4", "helix_pipelines_a100_l4", "vidur_linear_a40_a100", "vidur_elementwise_a40_a100"),
    *("splitwise_llama2_70b_a100", "aiconfigurator_llama31_8b_h100"),
)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are scored together."""

    source: str
    gpu: str
    phase: str
    kind: str
    elementwise: bool = False


@dataclass(frozen=True)
class Batch:
    """Rows of one case: their sizes as arrays, what was measured, and the group they are scored in."""

    case: Case
    group: Group
    sizes: Sizes
    measured_s: Floats

    def predicted_s(self, coefficients: Coefficients) -> Floats:
        return np.asarray(predict_s(self.case, self.sizes, coefficients)) + np.zeros_like(self.measured_s)


@dataclass(frozen=True)
class Rows:
    """All batches, and per row the measured seconds and the number of its group."""

    batches: tuple[Batch, ...]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        return tuple(dict.fromkeys(batch.group for batch in self.batches))

    @cached_property
    def group_of_row(self) -> npt.NDArray[np.int64]:
        numbers = {group: i for i, group in enumerate(self.groups)}
        return np.concatenate([np.full(len(b.measured_s), numbers[b.group]) for b in self.batches])

    @cached_property
    def measured_s(self) -> Floats:
        return np.concatenate([batch.measured_s for batch in self.batches])

    def predicted_s(self, coefficients: Coefficients) -> Floats:
        return np.concatenate([batch.predicted_s(coefficients) for batch in self.batches])

    def without(self, *, gpu: str = "", source: str = "") -> "Rows":
        """Those of other GPUs and other sources; with a source go the figures published of its tables."""
        gone = (source, f"{source}-published")
        return Rows(tuple(b for b in self.batches if b.group.gpu != gpu and b.group.source not in gone))

    def only(self, *, gpu: str = "", source: str = "") -> "Rows":
        return Rows(tuple(b for b in self.batches if gpu in ("", b.group.gpu) and source in ("", b.group.source)))

    def measured_only(self) -> "Rows":
        """Without the figures that were published as summaries."""
        return Rows(tuple(b for b in self.batches if not b.group.source.endswith("-published")))


def read_rows() -> Rows:
    """Every row that is to be fitted or scored: those with a flag are left out."""
    tables = (*(MEASURED / f"{name}.csv" for name in TABLES), PUBLISHED)
    return rows_of(row for path in tables for row in read_table(path))


def read_table(path: Path) -> list[dict[str, str]]:
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return list(csv.DictReader(lines))


def rows_of(rows: Iterable[Mapping[str, str]]) -> Rows:
    batches: dict[tuple[Group, Case], list[tuple[Sizes, float]]] = {}
    for row in rows:
        if "flag" in notes_of(row):
            continue
        case = case_of(row)
        group = Group(row["source"], row["gpu"], row["phase"], row["kind"], case.scope == "elementwise")
        batches.setdefault((group, case), []).append((sizes_of(row), float(row["value_ms"]) / 1e3))
    return Rows(tuple(_batch(group, case, found) for (group, case), found in batches.items()))


def _batch(group: Group, case: Case, found: list[tuple[Sizes, float]]) -> Batch:
    sizes = [sizes for sizes, _ in found]
    columns = (np.array([getattr(one, name) for one in sizes]) for name in ("batch", "prompt", "context", "output"))
    return Batch(case, group, Sizes(*columns), np.array([measured for _, measured in found]))
