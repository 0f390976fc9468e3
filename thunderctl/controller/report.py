"""What the controller says of itself, in a file beside its log: `controller.json`. `status` shows it."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from runtime.files import write_json
from runtime.processes import own_process_id

STATE_FILE = "controller.json"
LATE_S = 60.0
"""A tick takes seconds. One that is older says that the process hangs."""


@dataclass(frozen=True, slots=True)
class ControllerReport:
    """One controller at its last tick. Times are seconds since the epoch; `pid` and `started_at` name the process.

    `since` is when it became the one that acts, or began to wait for that. `waits_for` is who holds the deployment's
    lock, or acts in its stead, where that kept it from acting. `api` is the base URL of its API, where it serves one.
    `adapting` is what it last found of other phases and routes: empty before it first looked. `heard_at` is when any
    agent last answered a controller, this one or one before it; 0 where nobody knows.
    """

    pid: int
    started_at: float
    since: float
    ticked_at: float
    ticks: int = 0
    alerts: tuple[str, ...] = ()
    waits_for: str = ""
    api: str = ""
    adapting: Mapping[str, Any] = field(default_factory=dict)
    heard_at: float = 0.0

    @classmethod
    def mine(cls, **known: Any) -> Self:
        """This process's."""
        me = own_process_id()
        return cls(me.pid, me.started_at, **known)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**{**document, "alerts": tuple(document.get("alerts", ()))})

    def write(self, folder: Path) -> None:
        """Replace the file at once."""
        write_json(folder / STATE_FILE, asdict(self))

    def is_late(self, now: float) -> bool:
        return now - self.ticked_at > LATE_S


def controller_entry(report: ControllerReport | None, now: float | None = None) -> dict[str, Any]:
    """The `controller` of the status document."""
    if report is None:
        return {"state": "stopped"}
    at = time.time() if now is None else now
    return {
        "state": "late" if report.is_late(at) else "running",
        "pid": report.pid,
        "since": report.since,
        "last_tick_at": report.ticked_at,
        "waits_for": report.waits_for,
        "api": report.api,
        "adapting": dict(report.adapting) or None,
    }


def read_report(folder: Path) -> ControllerReport | None:
    """The report as it was last written; None where there is none that can be read."""
    try:
        return ControllerReport.from_json(json.loads((folder / STATE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
