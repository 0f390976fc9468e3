"""What has measurements behind it: predictions for anything else are marked uncalibrated, and say why."""

from collections.abc import Iterable, Iterator

from planner.catalog import GpuType
from planner.llm import LlmSpec


def unmeasured(llm: LlmSpec, gpus: Iterable[GpuType]) -> tuple[str, ...]:
    """What no measured row covers, each in words; empty where a prediction is calibrated.

    The measured rows are of dense models with full attention and 16-bit weights. A GPU that was calibrated on the
    machine itself, such as a CPU, counts as measured.
    """
    return (*_of_gpus(gpus), *_of_model(llm))


def _of_gpus(gpus: Iterable[GpuType]) -> Iterator[str]:
    for gpu in sorted({gpu.name: gpu for gpu in gpus if not gpu.calibrated}.values(), key=lambda gpu: gpu.name):
        yield f"{gpu.name} has no measured rows: its efficiencies are borrowed ({gpu.architecture or 'unknown'})"


def _of_model(llm: LlmSpec) -> Iterator[str]:
    if llm.experts:
        yield f"{llm.name} has experts, which no measured row covers"
    if llm.window:
        yield f"{llm.name} has attention windows, which no measured row covers"
    if llm.fp8 or llm.weight_only:
        yield f"{llm.name} has {llm.dtype} weights, which no measured row covers"
