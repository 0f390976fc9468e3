"""The only writer to stdout. Data goes there; narration, progress, warnings and errors go to stderr."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from planner.errors import SpecError, ThunderError
from thunderctl.cli.streams import drop, narrating_console

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


INTERRUPTED = 130
"""The exit code where Ctrl-C ends what has no end of its own, or ends it early with what there is so far."""
PIPED_WIDTH = 132
"""Columns of a table that goes to a file or a pipe."""


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout, alone."""
    _print(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_text(text: str) -> None:
    """Plain text on stdout, such as a log or a file's content."""
    _print(text if text.endswith("\n") else text + "\n")


def print_lines(name: str, lines: Iterable[str]) -> None:
    """Lines of what is called `name`, each behind that, on stdout; at once, as somebody watches."""
    head = f"{name} | " if name else ""
    _print("".join(f"{head}{line}\n" for line in lines))


def _print(text: str) -> None:
    """At once. Ends the command with 0 where the reader has gone, as in `| head`."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        raise typer.Exit from None


def check_writable(path: Path) -> None:
    """Raise SpecError for a file that could not be written; minutes of work need not come first."""
    if path.is_dir():
        raise SpecError(f"{path} can't be written: it is a folder.", hint=f"Name a file in it: {path / 'FILE'}")
    if not path.parent.is_dir():
        raise SpecError(f"{path} can't be written: there is no folder {path.parent}.", hint="Make the folder first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SpecError(f"{path} can't be written: permission denied.", hint="Name a file in a folder of your own.")


def write_file(path: Path, text: str) -> None:
    """Write a file that the user named. Raises SpecError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path} can't be written: {error.strerror}.") from error


def show(*renderables: "RenderableType") -> None:
    """Tables and text for people, on stdout; plain where stdout is no terminal or NO_COLOR is set."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    for renderable in renderables:
        console.print(renderable)


def narrate(text: str) -> None:
    """A line for people on stderr."""
    narrator().print(text, markup=False)


def narrator() -> "Console":
    """The console that progress and narration go to."""
    return narrating_console()


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    markup: bool = False,
) -> "Table":
    """A table whose `right` columns are numbers, which stay whole. Cells are text, unless they are rich's `markup`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from thunderctl.cli.cells import Cell

    made = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD if any(columns) else None,
        show_header=any(columns),
        pad_edge=False,
        padding=(0, 1) if any(columns) else (0, 2),
    )
    for column in columns:
        is_number = column in right
        made.add_column(column, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        made.add_row(*(Cell(Text.from_markup(str(cell)) if markup else Text(str(cell))) for cell in row))
    return made


def error_entry(error: ThunderError) -> dict[str, str]:
    """An error as JSON has it."""
    return {"kind": error.kind, "message": error.message, "hint": error.hint}


def fail(error: ThunderError, *, as_json: bool) -> None:
    """Say what went wrong: on stdout as JSON where the command prints JSON, else on stderr."""
    if as_json:
        with suppress(OSError, typer.Exit):  # its exit code says it too
            print_json({"error": error_entry(error)})
        return
    hint = f"hint: {error.hint}\n" if error.hint else ""
    with suppress(OSError):
        sys.stderr.write(f"error: {error.message}\n{hint}")
