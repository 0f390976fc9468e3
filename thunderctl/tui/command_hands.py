"""The screen's hands where the store is at hand: commands of our own as processes, and logs from the machines."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Sequence
from typing import Any

from planner.errors import ThunderError
from thunderctl.controller.process import COMMAND
from thunderctl.logs.following import Logs
from thunderctl.logs.places import wanted_logs
from thunderctl.tui.decision import Wish
from thunderctl.tui.feed import Say, Show
from thunderctl.tui.frame import Document
from thunderctl.world import World

ENDS = 200
"""Lines of a log that are there at once."""
SAID = 400


class CommandHands:
    """A process keeps a search off the screen, and ends what it began whatever becomes of the screen."""

    def __init__(self, world: World, command: Sequence[str] = COMMAND) -> None:
        self._world = world
        self._command = command

    async def decide(self, workload: str, wish: Wish, *, dry_run: bool) -> Document:
        lost = [word for name in wish.without for word in ("--without", name)]
        how = ["--json", "--workload", workload, "--dry-run" if dry_run else "--yes"]
        asked = ["undrain", *how, "--", wish.back] if wish.back else ["rebalance", *how, *lost]
        return await self._asked([*self._command, "--deployment", self._world.name, *asked], may_end=dry_run)

    async def follow(self, names: Sequence[str], show: Show, say: Say) -> None:
        await Logs(self._world, wanted_logs(self._world, names), ENDS, show, say).follow()

    async def _asked(self, command: Sequence[str], *, may_end: bool) -> Document:
        """What it prints. One that nobody waits for any more is ended only if it `may_end` half-way."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            said, complained = await asyncio.to_thread(process.communicate)
        except asyncio.CancelledError:
            if may_end:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            raise
        return answer_of(process.returncode, said, complained)


def answer_of(code: int, said: bytes, complained: bytes) -> dict[str, Any]:
    """The document that a command printed. Raises ThunderError as it says, or with the end of what it complained of."""
    try:
        document: dict[str, Any] = json.loads(said)
    except ValueError:
        document = {}
    if error := document.get("error"):
        raise ThunderError(str(error.get("message", "")), hint=str(error.get("hint", "")))
    if code != 0 or not document:
        tail = complained.decode(errors="replace").strip()[-SAID:]
        raise ThunderError(f"The command ended with {code} and no answer: {tail or 'it said nothing'}.")
    return document
