"""The note left behind for a deployment that lives on another host: which one, where on it, and how far the move is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from planner.errors import SpecError
from thunderctl.home import checked_deployment, thunder_home
from thunderctl.hosted.place import ControlHost
from thunderctl.secrets import write_private

FILE = "away.json"


class Moving(StrEnum):
    GOING = "going"
    """What is to be moved may have been handed over here, and may have been taken in there: `up` finds out."""
    THERE = "there"


@dataclass(frozen=True, slots=True)
class Away:
    """`folder` is the deployment's on `host`, from the root; `move` names the move. `state_before` is what `take_back`
    may need."""

    host: ControlHost
    deployment: str
    folder: str
    move: str
    moving: Moving = Moving.GOING
    state_before: str = "absent"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "host": self.host.to_json(), "moving": str(self.moving)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        host, moving = ControlHost.from_json(document["host"]), Moving(document["moving"])
        return cls(host, document["deployment"], document["folder"], document["move"], moving, document["state_before"])


def read_away(deployment: str) -> Away | None:
    """None where the deployment lives here. Raises SpecError for a note that can't be read: it must not be guessed."""
    path = _path(deployment)
    try:
        return Away.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise SpecError(
            f"{path} says where deployment {deployment} lives, and may not be read: {error.strerror}.",
            hint=f"Run this as the user who owns it, or give it back to yourself: chown $USER {path}",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"{path} says where deployment {deployment} lives, and can't be read: {error!r}.",
            hint="Restore it, or remove it if the deployment lives on this machine.",
        ) from error


def write_away(deployment: str, away: Away) -> None:
    write_private(_path(deployment), json.dumps(away.to_json(), indent=1) + "\n")


def forget_away(deployment: str) -> None:
    _path(deployment).unlink(missing_ok=True)


def _path(deployment: str) -> Path:
    return thunder_home() / "deployments" / checked_deployment(deployment) / FILE
