"""What a shell completes of a command line: names that the store knows.

A shell asks at every tab, so nothing of ours is imported for it: SQLite's file is read as it is, since SQLModel takes
400 ms. Of a store elsewhere only what lies in the deployment's folder is known. Where that fails, nothing is completed.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import typer

DEFAULT = "default"
SQLITE = "sqlite:///"
BUSY_S = 0.1


Complete = Callable[..., list[str]]


def completing(command: Callable[..., None], **parameters: Complete) -> Callable[..., None]:
    """The command, whose parameters of these names are completed so."""
    for name, complete in parameters.items():
        (described,) = command.__annotations__[name].__metadata__
        described.autocompletion = complete
    return command


def deployments(incomplete: str) -> list[str]:
    """Names of deployments."""
    folders = (path.name for path in _home().glob("deployments/*") if path.is_dir())
    return _beginning(incomplete, [*(name for (name,) in _rows("SELECT name FROM deployments")), *folders])


def plan_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the deployment's plans, the newest first; a shell completes files where none begins so."""
    rows = _rows("SELECT plan_id FROM plans WHERE deployment = ? ORDER BY created_at DESC", _deployment(context))
    return _beginning(incomplete, (plan_id for (plan_id,) in rows))


def instances(context: typer.Context, incomplete: str) -> list[str]:
    """Names of instances whose leases may cost."""
    ended = "('planned', 'gone', 'lost')"
    rows = _rows(
        f"SELECT instance FROM leases WHERE deployment = ? AND state NOT IN {ended} ORDER BY instance",
        _deployment(context),
    )
    return _beginning(incomplete, (name for (name,) in rows))


def replicas(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the replicas in the routes, and in the plan that is wanted."""
    name = _deployment(context)
    known: list[str] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        routes = json.loads((_home() / "deployments" / name / "router" / "routes.json").read_text())
        known += [replica["id"] for replica in routes["replicas"]]
    query = (
        "SELECT document FROM plans JOIN deployments ON plans.plan_id = deployments.plan_id "
        "AND plans.deployment = deployments.name WHERE name = ?"
    )
    for (document,) in _rows(query, name):
        with suppress(ValueError, KeyError, TypeError):
            known += [replica["id"] for replica in json.loads(document)["replicas"]]
    return _beginning(incomplete, known)


def machines(context: typer.Context, incomplete: str) -> list[str]:
    """Replicas and instances."""
    return [*replicas(context, incomplete), *instances(context, incomplete)]


def logs(context: typer.Context, incomplete: str) -> list[str]:
    """All that has a log."""
    return [*machines(context, incomplete), *_beginning(incomplete, ("router", "controller"))]


def event_kinds(context: typer.Context, incomplete: str) -> list[str]:
    """What has happened to the deployment, by kind."""
    rows = _rows("SELECT DISTINCT kind FROM events WHERE deployment = ? ORDER BY kind", _deployment(context))
    return _beginning(incomplete, (kind for (kind,) in rows))


def _deployment(context: typer.Context) -> str:
    """Which one the command line names: a command's own context is below that of the global options."""
    return str(context.find_root().params.get("deployment") or DEFAULT)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name.startswith(incomplete)))


def _rows(query: str, *values: str) -> Iterator[tuple[str, ...]]:
    """What the store says; nothing where it can't be read."""
    path = _store()
    if path is None or not path.exists():
        return
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as store,
    ):
        yield from store.execute(query, values).fetchall()


def _store() -> Path | None:
    """The file that the store is in; None where it is a server's."""
    url = os.environ.get("THUNDER_DATABASE_URL")
    if not url:
        return _home() / "store.db"
    return Path(url.removeprefix(SQLITE)).absolute() if url.startswith(SQLITE) else None


def _home() -> Path:
    """`THUNDER_HOME`, which is not made for this."""
    named = os.environ.get("THUNDER_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("thunderctl", appauthor=False)
