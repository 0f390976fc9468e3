"""The router's port outlives the router: a process that does little else holds it, and forks the one that serves.

When that one dies (killed for memory, a crash in native code), another serves on the same socket within a tenth of a
second. Connections that come meanwhile wait in the kernel's queue instead of being refused; requests that were under
way are lost with the process that had them. Who stops, kills or names the router means the supervisor.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)

HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BRIEF_S = 5.0
"""Who ends itself with an error so soon could not begin: it has said why, and would say it again."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Before another serves; doubled from one death to the next, until one has lived for a minute."""
SETTLED_S = 60.0


@dataclass(slots=True)
class Supervisor:
    """Keeps one process that does `serve`, told how many died before it, until that ends by itself or is told to.

    `run` returns in the process that serves when `serve` does, and in the supervisor raises SystemExit with the code
    that the last one ended with. Signals are handed on.
    """

    serve: Callable[[int], None]
    deaths: int = 0
    _pid: int = 0
    _told: bool = False
    _lifeline: int = field(default=-1)
    """The end of a pipe that only the supervisor holds: who serves reads of its death there, however it died."""

    def run(self) -> None:
        for number in HANDED_ON:
            signal.signal(number, self._hand_on)
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            if not self._fork():
                self.serve(self.deaths)
                return
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            lived_s, self._pid = time.monotonic() - began, 0
            if self._told or code == 0 or (code > 0 and lived_s < BRIEF_S):
                raise SystemExit(code if code >= 0 else 128 - code)
            pause_s = FIRST_PAUSE_S if lived_s >= SETTLED_S else min(2 * pause_s, LONGEST_PAUSE_S)
            log.error("the router ended with %d after %.0f s; another serves on its port", code, lived_s)
            self.deaths += 1
            time.sleep(pause_s)

    def _fork(self) -> int:
        """The pid of a new process; 0 in that one. Signals wait meanwhile, so that none is lost between the two."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
        try:
            if self._lifeline >= 0:
                os.close(self._lifeline)
            end, self._lifeline = os.pipe()
            self._pid = os.fork()
            if self._pid:
                os.close(end)
                return self._pid
            os.close(self._lifeline)
            os.setpgid(0, 0)  # Ctrl-C of a terminal comes by the supervisor alone, and so once
            for number in HANDED_ON:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it reads its files in a moment anyway
            threading.Thread(target=_die_with, args=(end,), name="lifeline", daemon=True).start()
            return 0
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._told = True
            if not self._pid:
                raise SystemExit(0)
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _die_with(lifeline: int) -> NoReturn:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
