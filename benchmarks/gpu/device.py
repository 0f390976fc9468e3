"""Where the measurements run: a CUDA device and its clock, or the CPU under Triton's interpreter, which has none."""

import os
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch

REPEATS = 15
GIGABYTE = 1e9
INTERPRETED = "interpreted: correctness only, no timings"


@dataclass(frozen=True, slots=True)
class Device:
    """`name` as CUDA gives it; empty where there is none, and sizes are then small."""

    name: str

    @classmethod
    def found(cls) -> Self:
        """Must be asked before Triton is imported: without CUDA, its kernels are to be interpreted."""
        if torch.cuda.is_available():
            return cls(torch.cuda.get_device_name())
        os.environ["TRITON_INTERPRET"] = "1"
        return cls("")

    @property
    def is_real(self) -> bool:
        return bool(self.name)

    @property
    def torch(self) -> torch.device:
        return torch.device("cuda" if self.is_real else "cpu")

    @property
    def page(self) -> str:
        """`gpu_nvidia_h100_80gb_hbm3.md`."""
        return f"gpu_{re.sub(r'[^a-z0-9]+', '_', self.name.lower()).strip('_')}.md"

    def sized(self, real: int, interpreted: int) -> int:
        return real if self.is_real else interpreted

    def seconds(self, work: Callable[[], object]) -> float | None:
        """By the device's own clock, from the first to the last of what `work` launches on any stream: median, after
        two that are not counted. None where there is no device."""
        if not self.is_real:
            work()
            return None
        taken = [_elapsed_s(work) for _ in range(REPEATS + 2)][2:]
        return statistics.median(taken)


def _elapsed_s(work: Callable[[], object]) -> float:
    """Every stream that `work` uses has to wait for the current one before, and be waited for after."""
    torch.cuda.synchronize()
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    work()
    ended.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended)) / 1e3


def rate(moved_bytes: int, seconds: float | None) -> str:
    """GB/s, or a dash where nothing was timed."""
    return f"{moved_bytes / seconds / GIGABYTE:,.1f}" if seconds else "–"


def milliseconds(seconds: float | None) -> str:
    return f"{seconds * 1e3:.3f}" if seconds else "–"
