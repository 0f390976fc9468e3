"""The lab's page: who made it where and with what, and a section a row. Rows that were not run stay as they were."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine_sections import put
from benchmarks.lab.hosts import FAST_MBIT, SLOW_MBIT, Host
from benchmarks.lab.lab import Row
from benchmarks.up import paragraph
from thunderctl.calibration.record import Machine
from thunderctl.hosts.engine_environment import engine_version

TARGET = Path(__file__).parents[1] / "results" / "lab.md"


def write(
    rows: Sequence[Row], hosts: Sequence[Host], seconds: float, order: Sequence[str], target: Path = TARGET
) -> None:
    """Put what was found anew in its place."""
    put(target, "\n".join(_about(hosts, seconds)), {row.title: "\n".join(row.lines) for row in rows}, order=order)


def _about(hosts: Sequence[Host], seconds: float) -> list[str]:
    machine = Machine.here()
    kinds = ", ".join(f"{host.name} {host.kind.cores:g}" for host in hosts)
    text = f"""Made by `make lab` (`.venv/bin/python -m benchmarks.lab`) in {seconds / 60:.0f} minutes on
        {machine.cores} cores of {machine.cpu}, Linux {platform.release()}, Python {platform.python_version()},
        {engine_version()}, load average {os.getloadavg()[0]:.1f} at the end."""
    meaning = f"""Proof of mechanism on {machine.cores} cores: {len(hosts)} hosts, each a network namespace with an SSH
        server of its own and a fixed part of a core ({kinds}), on lines shaped both ways to {FAST_MBIT:g} or
        {SLOW_MBIT:g} Mbit/s. The `ssh` provider rents them; real vLLM engines serve the shipped model (tiny-llama) on
        them. What a GPU would do is not said here. The lab draws the plans of rows 1, 2 and 4 by what
        each host was measured to do, as a plan knows types of machines and not single ones. What is called simulated or
        predicted was not measured; all else was."""
    title = "# The lab: unlike hosts with real networks, on one machine"
    return [title, "", *paragraph(text), "", *paragraph(meaning), ""]
