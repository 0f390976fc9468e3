"""`THUNDER_HOME`: where everything that the tool writes lies."""

import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

from planner.errors import SpecError
from thunderctl.secrets import write_private

KEYS_FILE = Path("keys", "keys.json")
DEPLOYMENT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def thunder_home() -> Path:
    """The folder, made (0700) if it is missing: `THUNDER_HOME`, else the platform's folder for user data."""
    named = os.environ.get("THUNDER_HOME")
    home = Path(named).expanduser().absolute() if named else _platform_folder()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise SpecError(f"THUNDER_HOME {home} can't be made: {why}.", hint="Name another folder.") from error
    return home


def database_url() -> str:
    """`THUNDER_DATABASE_URL`, else the SQLite file in the home."""
    return os.environ.get("THUNDER_DATABASE_URL") or f"sqlite:///{thunder_home() / 'store.db'}"


def local_folder() -> Path:
    """Where the machines of the local provider lie, each a folder named after its lease."""
    return thunder_home() / "local"


def deployment_folder(name: str) -> Path:
    """The deployment's folder, made (0700) if it is missing."""
    folder = thunder_home() / "deployments" / checked_deployment(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def keys_file(name: str) -> Path:
    """The deployment's client keys, in a folder of theirs, which outlives `down`: clients keep their keys too."""
    return deployment_folder(name) / KEYS_FILE


def checked_deployment(name: str) -> str:
    """`name`, checked: it becomes a folder, part of labels, and part of names in certificates."""
    if not DEPLOYMENT_NAME.fullmatch(name):
        raise SpecError(
            f"The deployment name {name!r} can't be used; expected up to 40 of a-z, 0-9 and hyphens.",
            hint="For example: --deployment staging-2",
        )
    return name


def owner_id() -> str:
    """The random UUID put on every machine. In a file of its own: losing the store must not lose the machines."""
    path = thunder_home() / "owner-id"
    if not path.exists():
        _claim(path, str(uuid.uuid4()))
    text = path.read_text().strip()
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise SpecError(
            f"{path} holds {text!r}; expected a UUID.",
            hint="Restore it: machines rented under the old id are found by it alone.",
        ) from error


def _claim(path: Path, text: str) -> None:
    """Make the file, unless another process makes it first: then theirs counts."""
    draft = path.with_name(f".owner-id.{text}")
    write_private(draft, text + "\n")
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _platform_folder() -> Path:
    import platformdirs

    return platformdirs.user_data_path("thunderctl", appauthor=False)
