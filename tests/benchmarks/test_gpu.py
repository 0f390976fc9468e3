"""The GPU's script where there is none: kernels interpreted, everything compared, nothing timed, nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.device import Device, milliseconds, rate

pytestmark = pytest.mark.engine_env

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_kernels_are_compared_and_nothing_is_timed():
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", "--heads", "64"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "interpreted: correctness only, no timings" in told.stdout
    assert "18 of 18 comparisons" in told.stdout
    assert "GB/s" not in told.stdout
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before


def test_a_page_is_named_by_its_device():
    assert Device("NVIDIA H100 80GB HBM3").page == "gpu_nvidia_h100_80gb_hbm3.md"


def test_what_was_not_timed_is_a_dash():
    called = []
    assert Device("").seconds(lambda: called.append(1)) is None
    assert (called, rate(1 << 30, None), milliseconds(None)) == ([1], "–", "–")
    assert (rate(2 * 10**9, 0.5), milliseconds(0.0015)) == ("4.0", "1.500")
