"""`thunder.calibration/v1`: what was measured of this host's engines, and what was fitted to it: one file of the home.

It counts on the machine that it was measured on only: another one's calibration is as none.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, Self, TypeVar

from planner.catalog import GpuCalibration
from planner.costmodel.calibrate import Handover, Row
from planner.errors import SpecError
from runtime.files import write_json
from thunderctl.home import thunder_home

SCHEMA = "thunder.calibration/v1"
REMEDY = "Measure anew: thunderctl doctor --calibrate. Or remove the file, and plan uncalibrated."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Machine:
    """What tells one machine from another: its processor, and the cores of it that this process may use."""

    cpu: str
    cores: int

    @classmethod
    def here(cls) -> Self:
        return cls(_cpu_name(), len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """One calibration. `fitted_s` are the predictions for the rows; `load_before` is the load average when it began.

    `kv_planned_tokens` is what the plan says an engine's KV holds, `kv_reported_tokens` what the engine says.
    """

    created_at: str
    machine: Machine
    vllm: str
    model: str
    load_before: float
    kv_planned_tokens: int
    kv_reported_tokens: int
    gpu: GpuCalibration
    handover: Handover | None
    rows: tuple[Row, ...]
    fitted_s: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        rows = [
            {**asdict(row), "codec": str(row.codec), "fitted_seconds": fitted}
            for row, fitted in zip(self.rows, self.fitted_s, strict=True)
        ]
        whole = asdict(self)
        del whole["fitted_s"]
        return {"schema": SCHEMA, **whole, "rows": rows}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What planning takes from a calibration."""

    created_at: str
    machine: Machine
    gpu: GpuCalibration
    handover: Handover | None


def calibration_path() -> Path:
    return thunder_home() / "calibration.json"


def save(record: CalibrationRecord) -> Path:
    """Write it whole or not at all."""
    path = calibration_path()
    write_json(path, record.to_json())
    return path


def recorded() -> Calibrated | None:
    """What the file says; None where there is none. Raises SpecError where it can't be read."""
    path = calibration_path()
    if not path.exists():
        return None
    try:
        return _read(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise SpecError(f"{path} is no {SCHEMA} document: {said}.", hint=REMEDY) from error


def in_force() -> Calibrated | None:
    """The calibration of this very machine. Raises SpecError for a file that can't be read."""
    found = recorded()
    return found if found and found.machine == Machine.here() else None


def _read(document: Any) -> Calibrated:
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise ValueError(f"expected an object with schema {SCHEMA}")
    handover = document["handover"]
    return Calibrated(
        created_at=str(document["created_at"]),
        machine=Machine(str(document["machine"]["cpu"]), int(document["machine"]["cores"])),
        gpu=_figures(GpuCalibration, document["gpu"], "gpu"),
        handover=None if handover is None else _figures(Handover, handover, "handover"),
    )


def _figures(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass of figures, and of the one name that a GPU type has."""
    known = {field.name: values[field.name] for field in fields(cls)}  # type: ignore[arg-type]  # T is a dataclass
    for name, value in known.items():
        is_figure = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
        if name != "gpu" and not is_figure:
            raise ValueError(f"{where}.{name} is {value!r}; expected a number of 0 or more")
    return cls(**known)


def _cpu_name() -> str:
    """As the kernel names it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
