"""The GPU types we know, from our own tables: rated speeds on one basis for all, and what is reached of them."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from planner.catalog import GpuCalibration, GpuType
from planner.costmodel.coefficients import ON_CPU, fitted, measured_gpus
from planner.errors import SpecError
from planner.tables import table


def gpu_named(name: str, memory_gib: float = 0.0) -> GpuType:
    """The type of this name or alias ("RTX 4090", "NVIDIA A100-SXM4-80GB").

    Where a name leaves the memory open, as "A100" does, `memory_gib` decides, and without it the smallest one is meant.
    """
    matches = _by_alias().get(_key(name), ())
    if not matches:
        near = get_close_matches(_key(name), _by_alias(), n=8, cutoff=0.5)
        known = ", ".join(dict.fromkeys(gpu.name for key in near for gpu in _by_alias()[key])) or ", ".join(gpu_types())
        raise SpecError(f"GPU {name!r} is not known; expected one such as {known}.", hint="Check the spelling.")
    return min(matches, key=lambda gpu: abs(gpu.memory_gib - memory_gib))


def gpu_of(name: str, calibrations: Iterable[GpuCalibration]) -> GpuType:
    """The type of this name as it was measured on the machines, else as the package knows it."""
    known = gpu_named(name)
    return next((one.applied(known) for one in calibrations if one.gpu == known.name), known)


@cache
def gpu_types() -> dict[str, GpuType]:
    """Every known type by its name, in the table's order."""
    return {row["name"]: _gpu(row) for row in table("gpus")}


@cache
def _by_alias() -> dict[str, tuple[GpuType, ...]]:
    named: dict[str, tuple[GpuType, ...]] = {}
    for row in table("gpus"):
        gpu = gpu_types()[row["name"]]
        for alias in filter(None, row["aliases"].split("|")):
            named[_key(alias)] = (*named.get(_key(alias), ()), gpu)
    return named | {_key(name): (gpu,) for name, gpu in gpu_types().items()}


def _gpu(row: dict[str, str]) -> GpuType:
    return GpuType(
        name=row["name"],
        bf16=row["bf16"] == "yes",
        compute_capability=float(row["compute_capability"]),
        architecture=row["architecture"],
        efficiency=fitted().architectures[row["architecture"]],
        engine=fitted().engine(ON_CPU) if row["architecture"] == "cpu" else None,
        calibrated=row["name"] in measured_gpus(),
        nvlink_cards=int(row["nvlink_cards"]),
        pcie_direct=row["pcie_direct"] == "yes",
        memory_gib=float(row["memory_gib"]),
        memory_gb_per_s=float(row["memory_gb_per_s"]),
        fp16_tflops=float(row["fp16_tflops"]),
        fp8_tflops=float(row["fp8_tflops"]),
        tdp_w=float(row["tdp_w"]),
        pcie_gb_per_s=float(row["pcie_gb_per_s"]),
        nvlink_gb_per_s=float(row["nvlink_gb_per_s"]),
    )


def _key(name: str) -> str:
    """Letters and digits only, upper case, without the maker's words, so that spellings meet."""
    letters = "".join(c for c in name.upper() if c.isalnum())
    for word in ("NVIDIA", "TESLA", "GEFORCE", "QUADRO"):
        letters = letters.replace(word, "")
    return letters
