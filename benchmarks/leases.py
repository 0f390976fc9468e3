"""Does a rented machine ever get lost? Every crash point with every fault, over every provider's fake.

.venv/bin/python -m benchmarks.leases [--world NAME]... [--quick]

Writes `benchmarks/results/leases.md`; exits with 1 if a case ends badly. A case leases two machines, goes wrong where
it says, and is set right by `resume` and `gc`; the cases and what must hold are in `tests/provisioners/lease_cases.py`
and `lease_life.py`, and `mortal.py` is how a process is killed without ending this one.
"""

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.provisioners.lease_cases import Case, cases, crossed, play
from tests.provisioners.lease_worlds import WORLDS, LeaseWorld

TARGET = Path(__file__).parent / "results" / "leases.md"
CROSSED = ("fake",)
"""Worlds quick enough for every fault of a create with every one of a listing and of a release."""
BY_LENGTH = ("aws", "vast", "runpod", "fake", "local")
"""Worlds are played side by side, in processes of their own: the longest first."""
SLOW, EVERY = ("aws",), 3
"""Worlds that take a second of CPU time a case: moto does."""
KINDS = ("create", "listing", "delete", "happening")


INTRODUCTION = """\
# No rented machine is lost

Written by `.venv/bin/python -m benchmarks.leases` on {cores} cores of {machine}, Python {python}; {cpu_s:.0f} s of CPU
time. Providers are fakes: on the wire (Vast.ai and RunPod from their references, AWS as moto with its gaps filled) or
in process (`fake`); `local` is this host.

**{well} of {cases} cases ended well; {kills} processes were killed on the way.** A case leases two machines and goes
wrong where it says. After `resume` (what `up` begins with), and `gc` where a provider made one machine twice, what the
fake bills for is what the store says may cost, within the budget; a second resume writes nothing; others' machines
stand; and after `down` nothing of ours is left. While faults last, no machine bills that the store does not count, and
no lease ends. A kill ends the event loop at once, and what unwinds reaches neither journal nor provider: {late} such
attempts were made. `make test` kills real processes by SIGKILL at the same points.
"""
POINTS = """
Kills, by point: before (C0) and after (C1) the intent is on the disk, request sent (C2), reply read (C3), lease
committed (C4), between two creates (C5), before (C6) and after (C6-after) a release call, gone but not committed (C7),
between pages of a listing (C8), and while hosts are prepared: environment made (B1), our files there (B2), model there
(B3), agent started (B4), agent listening but the lease not yet READY (B5); the next bootstrap then goes on to the end.
"""


@dataclass(slots=True)
class Played:
    """What became of a world's cases; `kills` counts processes that died, by point."""

    name: str
    cases: int = 0
    ended_well: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    late: int = 0
    faults: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    failures: list[str] = field(default_factory=list)
    cpu_s: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", action="append", choices=WORLDS, help="only this one (repeat it)")
    parser.add_argument("--quick", action="store_true", help=f"of {' and '.join(SLOW)} only every {EVERY}rd case")
    given = parser.parse_args()
    wanted = sorted(given.world or WORLDS, key=BY_LENGTH.index)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        played = list(pool.map(partial(play_all, quick=given.quick), wanted))
    TARGET.write_text("\n".join(report(played, quick=given.quick)) + "\n")
    print(f"{sum(one.ended_well for one in played)} of {sum(one.cases for one in played)} cases ended well: {TARGET}")
    if any(one.failures for one in played):
        sys.exit(1)


def play_all(name: str, *, quick: bool) -> Played:
    """Every case of a world, each in a fresh one."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks of killed processes, which nobody waits for
    found, started = Played(name), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        with WORLDS[name](Path(folder) / "first") as world:
            every_case = [*cases(world), *(crossed(world) if name in CROSSED else ())]
        wanted = every_case[:: EVERY if quick and name in SLOW else 1]
        for number, case in enumerate(wanted, 1):
            with WORLDS[name](Path(folder) / str(number)) as world:
                play_one(found, world, case)
            if number % 100 == 0:
                print(f"{name}: {number} of {len(wanted)} cases, {len(found.failures)} failures", file=sys.stderr)
    found.cpu_s = time.process_time() - started
    return found


def play_one(found: Played, world: LeaseWorld, case: Case) -> None:
    found.cases += 1
    for kind in KINDS:
        if fault := getattr(case, kind):
            found.faults[kind][fault] += 1
    try:
        life = play(world, case)
    except AssertionError as error:
        found.failures.append(f"{found.name}: {case}: {str(error)[:200]}")
    else:
        found.ended_well += 1
        found.kills.update(life.deaths)
        found.late += life.late


def report(played: Sequence[Played], *, quick: bool = False) -> Iterator[str]:
    yield from INTRODUCTION.format(
        cores=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        cpu_s=sum(one.cpu_s for one in played),
        cases=sum(one.cases for one in played),
        well=sum(one.ended_well for one in played),
        kills=sum(one.kills.total() for one in played),
        late=sum(one.late for one in played),
    ).splitlines()
    yield ""
    yield from table(
        ("provider", "cases", "ended well", "kills", "CPU s"),
        ((one.name, one.cases, one.ended_well, one.kills.total(), f"{one.cpu_s:.0f}") for one in played),
    )
    if quick:
        yield from ("", f"Of {' and '.join(SLOW)} every {EVERY}rd case was played (`--quick`).")
    yield from (*POINTS.splitlines(), "")
    points = sorted({point for one in played for point in one.kills})
    yield from table(("point", *(one.name for one in played)), ((p, *(one.kills[p] for one in played)) for p in points))
    for kind, words in (
        ("create", "Faults of a create"),
        ("listing", "Faults of listings, lasting longer than a look's retries"),
        ("delete", "Faults of a release"),
        ("happening", "What befell a machine"),
    ):
        yield from ("", f"{words}, by provider and number of cases:", "")
        for one in played:
            named = ", ".join(f"{fault} ({count})" for fault, count in sorted(one.faults[kind].items()))
            yield f"* {one.name}: {named or 'none'}"
    if failures := [failure for one in played for failure in one.failures]:
        yield from ("", "## Failures", "", *(f"* {failure}" for failure in failures))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|---{'|--:' * (len(headings) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


if __name__ == "__main__":
    main()
