"""Events as they happen, of this machine's store or of a controller elsewhere: printed until Ctrl-C."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import typer

from planner.errors import ThunderError
from thunderctl.cli import output

EVERY_S = 1.0
"""Between two looks for what is new."""
Entry: TypeAlias = Mapping[str, Any]
"""One of `thunder.events/v1`."""


def follow_entries(
    found: Sequence[Entry],
    after: Callable[[int], Sequence[Entry]],
    *,
    passes: type[ThunderError],
    as_json: bool,
) -> None:
    """Print these, and without end what comes `after` an id. An error that `passes` is said once, and it is asked
    again."""
    last, silent = 0, False
    try:
        while True:
            last = max((one["id"] for one in found), default=last)
            output.print_lines("", [_line(one, as_json=as_json) for one in found])
            time.sleep(EVERY_S)
            try:
                found, silent = after(last), False
            except passes as error:
                if not silent:
                    output.narrate(f"{error.message} It is tried again.")
                found, silent = (), True
    except KeyboardInterrupt:
        raise typer.Exit(output.INTERRUPTED) from None


def _line(one: Entry, *, as_json: bool) -> str:
    return json.dumps(one, ensure_ascii=False) if as_json else f"{one['at']}  {one['kind']:<18}  {one['message']}"
