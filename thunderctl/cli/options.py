"""Options that several commands share, so that each has one name, one meaning and one help text."""

from pathlib import Path
from typing import Annotated

import typer

SpecOption = Annotated[Path | None, typer.Option("--spec", help="The spec to read (default ./thunder.toml).")]
ProviderOption = Annotated[list[str] | None, typer.Option(help="Only offers of these providers (repeat it).")]
OffersOption = Annotated[Path | None, typer.Option("--offers", help="The offers of this CSV, not the markets'.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before spending. Raises Refused where the answer is no, or nobody can be asked."""
    import sys

    from planner.errors import Refused

    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("This needs a confirmation and stdin is not a terminal.", hint="Repeat it with --yes.")
    if not typer.confirm(question, err=True):
        raise Refused("Not confirmed; nothing was changed.")
