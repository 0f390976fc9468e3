"""`doctor --calibrate` as it goes: engines up, everything measured, the coefficients fitted, engines down."""

import asyncio
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime

from planner.costmodel.calibrate import fitted_to
from planner.errors import SpecError
from planner.gpus import gpu_named
from thunderctl.calibration.fleet import fleet
from thunderctl.calibration.record import CalibrationRecord, Machine
from thunderctl.calibration.sweep import Measurer, Sweep
from thunderctl.deploying.apply import Narrate, Report
from thunderctl.hosts.engine_environment import PROJECT, engine_version
from thunderctl.spec.inputs import read_llm

MODEL = PROJECT / "examples" / "tiny-llama"
ENGINES = 3
"""As many as show how engines that share the cores slow each other down, where cores are few."""


def calibrate(
    *, report: Report, narrate: Narrate, say: Callable[[str], None], sweep: Sweep | None = None, engines: int = ENGINES
) -> CalibrationRecord:
    """Measure this host's engines with the shipped model. Leaves nothing running, however it ends.

    Raises Refused where a deployment is up here, SpecError where the engine environment or the model is missing.
    """
    if not MODEL.is_dir():
        raise SpecError(
            f"The shipped model is not in {MODEL}; expected it, as engines are measured with it.",
            hint="Calibrate from a checkout.",
        )
    llm, version = read_llm(str(MODEL)), engine_version()
    machine, load = Machine.here(), os.getloadavg()[0]
    with fleet(llm, engines, report=report, narrate=narrate) as up:
        reported = asyncio.run(up.kv_tokens(up.replicas[0]))
        rows = asyncio.run(Measurer(up, sweep or Sweep(), say, random.Random()).rows())
        planned = up.plan.replicas[0].kv_capacity_tokens
    fit = fitted_to(rows, llm, gpu_named("CPU"), cores=machine.cores)
    return CalibrationRecord(
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        machine=machine,
        vllm=version,
        model=llm.name,
        load_before=round(load, 2),
        kv_planned_tokens=planned,
        kv_reported_tokens=reported,
        gpu=fit.gpu,
        handover=fit.handover,
        rows=tuple(rows),
        fitted_s=fit.predicted_s,
    )
