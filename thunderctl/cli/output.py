"""The only writer to stdout. Data goes there; narration, progress, warnings and errors go to stderr."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from planner.errors import SpecError, ThunderError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


PIPED_WIDTH = 132
"""Columns of a table that goes to a file or a pipe."""


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout, alone."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_text(text: str) -> None:
    """Plain text on stdout, such as a log or a file's content."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def print_lines(name: str, lines: Iterable[str]) -> None:
    """Lines of what is called `name`, each behind that, on stdout; at once, as somebody watches.

    Ends the command with 0 where the reader has gone, as in `| head`.
    """
    head = f"{name} | " if name else ""
    try:
        sys.stdout.write("".join(f"{head}{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where what is left goes at the end
        raise typer.Exit from None


def write_file(path: Path, text: str) -> None:
    """Write a file that the user named. Raises SpecError."""
    try:
        path.write_text(text)
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
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
    markup: bool = False,
) -> "Table":
    """A table whose `right` columns are numbers. Cells are text as it is, unless they are rich's `markup`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) if markup else Text(str(cell)) for cell in row))
    return made


def error_entry(error: ThunderError) -> dict[str, str]:
    """An error as JSON has it."""
    return {"kind": error.kind, "message": error.message, "hint": error.hint}


def fail(error: ThunderError, *, as_json: bool) -> None:
    """Say what went wrong: on stdout as JSON where the command prints JSON, else on stderr."""
    if as_json:
        print_json({"error": error_entry(error)})
        return
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
