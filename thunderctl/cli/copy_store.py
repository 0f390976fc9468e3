"""`thunderctl copy-store`: what this host's store holds, into the one that THUNDER_DATABASE_URL names."""

from pathlib import Path
from typing import Annotated

import typer

from planner.errors import SpecError
from thunderctl.cli import output
from thunderctl.cli.options import JsonOption

MAGIC = b"SQLite format 3\0"
"""How every database of SQLite begins."""
NAME_IT = "Name its file: thunderctl copy-store FILE"


def copy_store(
    source: Annotated[Path | None, typer.Argument(help="SQLite's file; by default THUNDER_HOME/store.db.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a store of SQLite into the empty one that THUNDER_DATABASE_URL names; it stays as it is.

    Name that first: export THUNDER_DATABASE_URL=postgresql://thunder@db.example/thunder

    Example: thunderctl copy-store
    """
    from thunderctl.home import thunder_home
    from thunderctl.store.copying import copy_store as copied
    from thunderctl.store.store import Store

    path = source or thunder_home() / "store.db"
    if not path.is_file():
        raise SpecError(f"There is no store at {path}.", hint=NAME_IT)
    _check_is_sqlite(path)
    with Store() as target, Store(f"sqlite:///{path.absolute()}") as old:
        if target.address == old.address:
            raise SpecError(
                f"{path} is the store in use.",
                hint="Name the one to copy to: THUNDER_DATABASE_URL=postgresql://user@host/database",
            )
        rows = copied(old, target)
        where = str(target.address)
    if as_json:
        output.print_json({"schema": "thunder.copy-store/v1", "to": where, "rows": rows})
        return
    output.print_text(f"Copied {', '.join(f'{count} {name}' for name, count in rows.items())} to {where}.")


def _check_is_sqlite(path: Path) -> None:
    """Raise SpecError for another file: SQLite would take an empty one for a new database, and write into it."""
    try:
        with path.open("rb") as file:
            found = file.read(len(MAGIC))
    except OSError as error:
        raise SpecError(f"{path} can't be read: {error.strerror}.") from error
    if found != MAGIC:
        raise SpecError(f"{path} is no store: it is not a database of SQLite.", hint=NAME_IT)
