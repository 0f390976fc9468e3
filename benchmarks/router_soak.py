"""The router under load while its engines are killed again and again; writes `benchmarks/results/router_soak.md`.

.venv/bin/python -m benchmarks.router_soak [--mock-s 1800] [--engine-s 600] [--kill-every-s 60]

First mock engines that count, at 60 % of what they and the router carried before without kills, then real engines on
this machine's CPUs, brought up and brought back by `thunderctl up`. Nothing may fail, no text may be wrong, and the
router's memory must not grow. The page keeps the other part's section when only one is run.
"""

import argparse
import asyncio
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.router_soak_engines import soak_engines
from benchmarks.router_soak_mocks import soak_mocks
from benchmarks.router_soak_record import Soak
from thunderctl.calibration.record import Machine

TARGET = Path(__file__).parent / "results" / "router_soak.md"
MOCK_S, ENGINE_S, KILL_EVERY_S = 1800.0, 600.0, 60.0
GROWTH_LIMIT = 0.05


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mock-s", type=float, default=MOCK_S, help="0: none")
    options.add_argument("--engine-s", type=float, default=ENGINE_S, help="0: none")
    options.add_argument("--kill-every-s", type=float, default=KILL_EVERY_S)
    asked = options.parse_args()
    sections = sections_of(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    parts = {"Mock engines": (asked.mock_s, soak_mocks), "Real engines": (asked.engine_s, soak_engines)}
    for title, (seconds, soak) in parts.items():
        if seconds:
            found = asyncio.run(soak(seconds=seconds, kill_every_s=asked.kill_every_s))
            sections[title] = "\n".join(section(found)) + "\n"
            text = "\n".join([*header(), *(f"## {name}\n\n{sections[name]}" for name in parts if name in sections)])
            TARGET.write_text(text, encoding="utf-8")
            print(f"{title}\n{sections[title]}")


def header() -> Iterator[str]:
    yield "# The router under load while its engines are killed"
    yield ""
    yield "Measured by `benchmarks/router_soak.py`. An engine is killed with SIGKILL and started again; every answer is"
    yield "held against what it must say. Memory is the router's resident memory: its mean over the first tenth after"
    yield "the warm-up (a fifth of the time), and over the last tenth."
    yield ""


def section(found: Soak) -> Iterator[str]:
    machine = Machine.here()
    yield f"{machine.cores} cores of {machine.cpu}, Python {platform.python_version()}, load average"
    yield f"{os.getloadavg()[0]:.1f} at the end. {found.world}"
    yield ""
    yield "| what | found |"
    yield "| --- | --- |"
    yield f"| time, s | {found.seconds:.0f} |"
    yield f"| load | {found.load} |"
    yield f"| requests | {found.tally.asked} |"
    yield f"| engines killed | {', '.join(found.killed)} |"
    yield f"| legs that failed, and streams taken up by another | {found.legs_failed}, {found.moved} |"
    yield f"| failed or wrong (target 0) | {found.tally.wrong.total()}: {verdict(found.tally.wrong.total() == 0)} |"
    yield f"| median and 99th percentile, s | {found.quantile_s(0.5):.3f}, {found.quantile_s(0.99):.3f} |"
    yield f"| memory after the warm-up, at the end, MB | {found.warm_mb:.1f}, {found.last_mb:.1f} |"
    grown = f"{found.growth:+.1%}: {verdict(found.growth <= GROWTH_LIMIT)}"
    yield f"| growth (target at most {GROWTH_LIMIT:.0%}) | {grown} |"
    for wrong, count in found.tally.wrong.most_common(5):
        yield f"| wrong, {count} times | `{wrong}` |"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def sections_of(text: str) -> dict[str, str]:
    _, *pieces = re.split(r"^## (.*)\n\n", text, flags=re.MULTILINE)
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


if __name__ == "__main__":
    main()
