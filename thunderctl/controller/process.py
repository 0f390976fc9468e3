"""The controller of a deployment as a process of this host: started, asked how it is, stopped."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from thunderctl.controller.report import STATE_FILE, ControllerReport, read_report
from thunderctl.processes import detached
from thunderctl.store.this_host import this_host
from thunderctl.store.values import Holder

LOG_FILE = "controller.log"
COMMAND = (sys.executable, "-P", "-m", "thunderctl")
NOT_PASSED_ON = "THUNDER_CRASH_AT"
"""A test's, and meant for the command that starts the controller."""
UNIT = "THUNDER_CONTROLLER_UNIT"
"""The unit of the user's systemd that runs it, on a host that has one (`thunderctl/hosted/preparing.py`)."""
STOP_GRACE_S = 10.0
REPLACING = "up, by which the controller replaces machines"
"""What that `up` says it holds the deployment's lock for, while it changes something; and, before the names of the
instances, why it holds its row for all of its work (`deploying/replacers.py`)."""


class ControllerProcess:
    """One controller, whose folder holds `controller.json` (written by itself, every tick) and `controller.log`.

    It gets the operator's whole environment: it speaks to providers as commands do. Every call may be made again.
    """

    def __init__(self, folder: Path, deployment: str) -> None:
        self.folder = folder
        self.deployment = deployment

    @property
    def log(self) -> Path:
        return self.folder / LOG_FILE

    def report(self) -> ControllerReport | None:
        """What it last said, where it runs."""
        return read_report(self.folder) if detached.running(self.folder / STATE_FILE) else None

    async def start(self) -> None:
        """Start it unless it runs. Raises HostError with what it said."""
        if self.report():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unit = os.environ.get(UNIT)
        if unit and await detached.start_unit(unit, is_up=lambda: self.report() is not None):
            return
        await detached.start(
            "controller",
            [*COMMAND, "--deployment", self.deployment, "run", "controller"],
            environment={name: value for name, value in os.environ.items() if name != NOT_PASSED_ON},
            log=self.log,
            is_up=lambda _: self.report() is not None,
        )

    async def stop_replacing(self, holders: Iterable[Holder | None]) -> bool:
        """End each `up` of this host by which it replaces machines; whether there was any.

        What it was doing is found by listing, as after any crash.
        """
        mine = [one for one in holders if one and one.message.startswith(REPLACING) and one.host == this_host()]
        for one in mine:
            await detached.stop({"pid": one.pid, "started_at": one.started_at}, STOP_GRACE_S)
        return bool(mine)

    async def stop(self) -> None:
        """End it. What it was doing is gone on with by the next one, or by `down`."""
        await detached.stop(detached.running(self.folder / STATE_FILE), STOP_GRACE_S)
