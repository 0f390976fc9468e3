"""`thunderctl copy-store`: what this host's store holds, into the one that THUNDER_DATABASE_URL names."""

from pathlib import Path
from typing import Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption


def copy_store(
    source: Annotated[Path | None, typer.Argument(help="SQLite's file; by default THUNDER_HOME/store.db.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a store of SQLite into the empty one that THUNDER_DATABASE_URL names; it stays as it is.

    Example: thunderctl copy-store
    """
    from thunderctl.home import thunder_home
    from thunderctl.store.copying import copy_store as copied
    from thunderctl.store.store import Store

    path = source or thunder_home() / "store.db"
    if not path.is_file():
        raise SpecError(f"There is no store at {path}.", hint="Name its file: thunderctl copy-store FILE")
    with Store() as target, Store(f"sqlite:///{path.absolute()}") as old:
        if target.address == old.address:
            raise SpecError(
                f"{path} is the store in use.",
                hint="Name another: THUNDER_DATABASE_URL=postgresql://user@host/database",
            )
        rows = copied(old, target)
        where = str(target.address)
    if as_json:
        output.print_json({"schema": "thunder.copy-store/v1", "to": where, "rows": rows})
        return
    output.print_text(f"Copied {', '.join(f'{count} {name}' for name, count in rows.items())} to {where}.")
