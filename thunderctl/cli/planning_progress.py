"""A search as people watch it: on a terminal one live line, elsewhere a plain line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from planner.choosing.progress import Progress, Report
from thunderctl.cli import output

EVERY_S = 5.0
"""Between two plain lines about the same search."""
Say: TypeAlias = Callable[[str], None]


@contextmanager
def planning_line() -> Iterator[tuple[Say, Report]]:
    """What to tell while it lasts: lines that stay, and progress."""
    console = output.narrator()
    if not console.is_terminal:
        yield output.narrate, _now_and_then(output.narrate)
        return
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("planning", total=None)
        yield (
            lambda text: console.print(text, markup=False),
            lambda progress: bar.update(task, description=progress_text(progress)),
        )


def progress_text(progress: Progress) -> str:
    """`40.20 requests/s, at most 41.00: gap 2.0%, tabu search`; no bound is shown before there is one."""
    bounded = 0 < progress.bound_rps < float("inf")
    bound = f", at most {progress.bound_rps:.2f}: gap {progress.gap:.1%}" if bounded else ""
    return f"{progress.best_rps:.2f} requests/s{bound}, {progress.what}"


def _now_and_then(say: Say) -> Report:
    last_s = -EVERY_S

    def report(progress: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= EVERY_S:
            last_s = time.monotonic()
            say(f"{progress_text(progress)}, {progress.seconds:.1f} s")

    return report
