"""Steps as people watch them: a line as each ends, and on a terminal what is under way below."""

from collections.abc import Iterator
from contextlib import contextmanager

from thunderctl.apply import Report, StepResult, StepState
from thunderctl.cli.output import narrator
from thunderctl.deploy import Narrate

MARKS = {StepState.DONE: "[green]✓[/]", StepState.FAILED: "[red]✗[/]", StepState.SKIPPED: "[yellow]-[/]"}


@contextmanager
def step_lines() -> Iterator[tuple[Report, Narrate]]:
    """A reporter and a narrator that write to stderr."""
    console = narrator()
    under_way: dict[str, str] = {}
    with console.status("") as spinner:

        def refresh() -> None:
            spinner.update("; ".join(f"{name}: {text}" if text else name for name, text in under_way.items()))

        def report(result: StepResult) -> None:
            name = f"{result.step.what} {result.step.id}"
            if result.state is StepState.RUNNING:
                under_way[name] = ""
            else:
                under_way.pop(name, None)
                detail = f" [dim]{result.step.detail}[/]" if result.step.detail else ""
                console.print(f"  {MARKS[result.state]} {name}{detail}  {result.seconds:.1f} s")
            refresh()

        def narrate(subject: str, text: str) -> None:
            for name in under_way:
                if name.endswith(f" {subject}"):
                    under_way[name] = text
            refresh()

        yield report, narrate
