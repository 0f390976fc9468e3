"""What moves with a deployment: its rows, its certificates and keys, and how its machines are reached. In one file.

`THUNDER_HOME/moves/NAME.json` (0600) holds it from before the rows are handed over until it was taken in elsewhere.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from planner.errors import SpecError
from provisioners.crash import crash_point
from thunderctl.home import deployment_folder, owner_id, thunder_home
from thunderctl.hosted.note import FILE as AWAY_FILE
from thunderctl.processes.router_process import LINK as ROUTER_LINK
from thunderctl.processes.router_process import THERE as ROUTER_THERE
from thunderctl.secrets import write_private
from thunderctl.store.moving import hand_over, may_cost, read_rows, take_in
from thunderctl.store.store import Store

SCHEMA = "thunder.move/v1"
OF_THE_HOST = (AWAY_FILE, "router.json", "controller.json", ROUTER_THERE, ROUTER_LINK)
"""They name processes of the host that they lie on, or what it alone reaches and ends."""
LOGS = ".log"
LISTS = ("ssh/known_hosts", "vast/known_hosts", "aws/known_hosts", "aws/regions")
"""Of the whole home: lines, of which those that are missing are added."""
KEY = "ssh/id_ed25519"
"""The one that rented machines let in."""
OWNER = "owner-id"


def bundle_path(deployment: str) -> Path:
    return thunder_home() / "moves" / f"{deployment}.json"


def pack(store: Store, name: str, move: str) -> tuple[Path, list[str]]:
    """Write the bundle and hand the rows over, in one transaction; return it, and the leases in it that may cost.

    Of a store that hosts share no row moves. The caller holds the deployment's lock, and has ended its processes.
    """
    path, shared = bundle_path(name), store.address.is_postgres
    with store._write() as session:
        rows = {} if shared else read_rows(session, name)
        document = {"schema": SCHEMA, "move": move, "deployment": name, "owner_id": owner_id(), "rows": rows}
        leased = [row["lease_id"] for row in rows.get("leases", ())]
        write_private(path, json.dumps({**document, "files": dict(_files(name, leased))}))
        crash_point("M1")
        if not shared:
            hand_over(session, name)
    crash_point("M2")
    return path, may_cost(rows)


def packed_move(deployment: str) -> str:
    """The move whose bundle lies here; empty where none does."""
    try:
        return str(json.loads(bundle_path(deployment).read_text())["move"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def unpack(store: Store, path: Path, *, home: Path) -> str:
    """Take in what a bundle holds, unless that was done; returns the deployment's name.

    Raises SpecError for a file that is no bundle, or one of another owner; Refused as `take_in` does.
    """
    try:
        document = json.loads(path.read_text())
        name, move, owner = document["deployment"], document["move"], document["owner_id"]
        files, rows = document["files"], document["rows"]
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path} is no deployment that was moved: {error!r}.") from error
    _be_owner(home, owner)
    if take_in(store, name, rows, move):
        crash_point("M3")
    _write_files(home, files)
    return str(name)


def _be_owner(home: Path, owner: str) -> None:
    """Machines are found by the owner's id: a home has one."""
    path = home / OWNER
    if not path.exists():
        write_private(path, owner + "\n")
    elif (found := path.read_text().strip()) != owner:
        raise SpecError(f"{home} is of the owner {found}; the deployment that comes is of {owner}.")


def _files(name: str, leased: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path below the home → its mode and content."""
    home = thunder_home()
    own = sorted(path for path in deployment_folder(name).rglob("*") if path.is_file() and _moves(path))
    of_home = [home / one for one in (*LISTS, KEY, *(f"ssh/leases/{lease}.json" for lease in leased))]
    for path in (*own, *(one for one in of_home if one.exists())):
        content = base64.b64encode(path.read_bytes()).decode()
        yield path.relative_to(home).as_posix(), {"mode": path.stat().st_mode & 0o777, "content": content}


def _moves(path: Path) -> bool:
    return path.name not in OF_THE_HOST and not path.name.startswith(".") and LOGS not in path.suffixes


def _write_files(home: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Make them so; pinned host keys are added to."""
    for name, file in files.items():
        path, data = home / name, base64.b64decode(file["content"])
        if not path.resolve().is_relative_to(home.resolve()):
            raise SpecError(f"The deployment that comes names a file outside its home: {name}.")
        if name in LISTS and path.exists():
            data = _added(path.read_bytes(), data)
        elif name == KEY and path.exists():
            continue
        write_private(path, data)
        path.chmod(file["mode"])


def _added(here: bytes, come: bytes) -> bytes:
    """The lines that are here, and those of names that are not."""
    known = {line.split(b" ", 1)[0] for line in here.splitlines()}
    more = [line for line in come.splitlines() if line.split(b" ", 1)[0] not in known]
    return b"".join(line + b"\n" for line in (*here.splitlines(), *more))
