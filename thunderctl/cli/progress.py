"""Steps as people watch them: a line as each ends, and on a terminal what is under way below."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape

from planner.reconcile import StepKind
from thunderctl.cli.output import narrator, table
from thunderctl.cli.tables.machines import COLUMNS, RIGHT, MachineRows
from thunderctl.deploying.apply import Narrate, Report, StepResult, StepState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from planner.deployment import Plan
    from thunderctl.deploying.site import Amended

MARKS = {StepState.DONE: "[green]✓[/]", StepState.FAILED: "[red]✗[/]", StepState.SKIPPED: "[yellow]-[/]"}
REFRESHES_PER_S = 4


@dataclass(frozen=True, slots=True)
class Followed:
    """Whom to tell how bringing up goes."""

    report: Report
    narrate: Narrate
    amended: "Amended"


@contextmanager
def step_lines() -> Iterator[tuple[Report, Narrate]]:
    """A reporter and a narrator that write to stderr."""
    console = narrator()
    under_way: dict[str, str] = {}
    with console.status("") as spinner:

        def refresh() -> None:
            said = "; ".join(f"{name}: {text}" if text else name for name, text in under_way.items())
            spinner.update(escape(said))  # hosts' own words

        def report(result: StepResult) -> None:
            name = f"{result.step.what} {result.step.id}"
            if result.state is StepState.RUNNING:
                under_way[name] = ""
            else:
                under_way.pop(name, None)
                console.print(_line(result))
            refresh()

        def narrate(subject: str, text: str) -> None:
            for name in under_way:
                if name.endswith(f" {subject}"):
                    under_way[name] = text
            refresh()

        yield report, narrate


@contextmanager
def machine_lines(plan: "Plan") -> Iterator[Followed]:
    """One live row a machine on a terminal; elsewhere a line as each step ends, and as a machine is replaced."""
    console = narrator()
    if console.is_terminal:
        with _live_rows(plan, console) as followed:
            yield followed
        return
    with step_lines() as (report, narrate):
        yield Followed(report, narrate, lambda _plan, why: console.print(why, markup=False))


@contextmanager
def _live_rows(plan: "Plan", console: "Console") -> Iterator[Followed]:
    """Steps of machines change their rows, and only what failed is a line of its own; all other steps are lines."""
    from rich.live import Live

    rows = MachineRows(plan)

    def drawn() -> "Table":
        return table(rows.summary, COLUMNS, rows.cells(), right=RIGHT)

    with Live(get_renderable=drawn, console=console, refresh_per_second=REFRESHES_PER_S) as live:

        def report(result: StepResult) -> None:
            is_machines = rows.report(result)
            if result.state is StepState.FAILED or not (is_machines or result.state is StepState.RUNNING):
                live.console.print(_line(result))

        def amended(plan: "Plan", why: str) -> None:
            rows.amended(plan)
            live.console.print(f"  {why}", markup=False)

        yield Followed(report, rows.narrate, amended)


def _line(result: StepResult) -> str:
    detail = f" [dim]{escape(result.step.detail)}[/]" if result.step.detail else ""
    failed = result.error if result.state is StepState.FAILED else None
    why = f": {escape(failed.first_line)}" if failed else ""
    # There is one set of routes, so that step's id says nothing.
    of = "" if result.step.what is StepKind.ROUTE else f" {result.step.id}"
    return f"  {MARKS[result.state]} {result.step.what}{of}{detail}  {result.seconds:.1f} s{why}"
