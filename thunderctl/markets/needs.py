"""What a rented machine must have for a spec."""

from math import ceil

from planner.errors import SpecError
from planner.gpus import gpu_types
from planner.requirements import disk_need_gb
from provisioners.vast.needs import Needs
from thunderctl.spec.inputs import read_llm
from thunderctl.spec.spec import Spec

OURS_GB, STEP_GB = 5.0, 10
"""On top of weights and environment: our code, logs, adapters. Sizes are rounded up, so that prices are comparable."""


def needs_of(spec: Spec) -> Needs:
    """What a machine must have for the spec's model, in the dtype that takes most, and for as long as it may run.

    A model that can't be read is no reason not to find and release what runs: then the disk is as usual.
    """
    try:
        llms = [read_llm(spec.model.name, dtype) for dtype in spec.model.dtypes or (spec.model.dtype,)]
    except SpecError:
        return Needs(max_hours=spec.budget.max_hours)
    need_gb = OURS_GB + max(disk_need_gb(llm, gpu) for llm in llms for gpu in gpu_types().values())
    return Needs(disk_gb=float(STEP_GB * ceil(need_gb / STEP_GB)), max_hours=spec.budget.max_hours)
