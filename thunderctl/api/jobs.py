"""Changes under way: commands in processes of their own, which outlive the controller should it end.

What they print goes to files without a name, so that nobody has to remove them. The last jobs are remembered for as
long as this process lives; what became of others is in the events.
"""

import asyncio
import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from planner.errors import HostError

COMMAND = (sys.executable, "-P", "-m", "thunderctl")
NOT_PASSED_ON = ("THUNDER_CRASH_AT", "THUNDER_API_URL", "THUNDER_API_TOKEN")
"""A test's, and what would have the command ask this very API."""
LOOK_EVERY_S = 0.1
KEPT = 50
SAID_BYTES = 16_000
"""Who follows asks every 20 s: what a large `up` narrates in that time fits in."""
log = logging.getLogger(__name__)


class JobState(StrEnum):
    RUNNING = "running"
    ENDING = "ending"
    """`down` has proven everything gone, and ends the controller, and with it this API, before it ends itself."""
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Job:
    """One command. `result` is the JSON that it printed, `said` the end of what it narrated, without the
    `said_from_line` lines before it. Times: since the epoch.
    """

    job_id: str
    action: str
    command: tuple[str, ...]
    started_at: float
    state: JobState = JobState.RUNNING
    ended_at: float | None = None
    exit_code: int | None = None
    result: Mapping[str, Any] | None = None
    said: str = ""
    said_from_line: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def document(self) -> dict[str, Any]:
        return {
            "schema": "thunder.job/v1",
            "id": self.job_id,
            "action": self.action,
            "command": ["thunderctl", *self.command],
            "state": self.state,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit_code": self.exit_code,
            "result": self.result,
            "said": self.said,
            "said_from_line": self.said_from_line,
        }

    def moved(self, state: JobState) -> None:
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(slots=True)
class Jobs:
    """Those of one deployment. `launch` is the program and what comes before a command's own words."""

    deployment: str
    folder: Path
    launch: Sequence[str] = COMMAND
    _jobs: dict[str, Job] = field(default_factory=dict)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    @property
    def running(self) -> Job | None:
        """The change under way, if there is one; there is never more than one."""
        return next((one for one in self._jobs.values() if one.ended_at is None), None)

    def begin(self, action: str, command: Sequence[str], ended: Callable[[Job], Awaitable[None]]) -> Job:
        """Start a command; `ended` is awaited with it afterwards. Raises HostError where none can be started."""
        job = Job(secrets.token_hex(8), action, tuple(command), time.time())
        process, printed, narrated = self._start(command)
        self._jobs[job.job_id] = job
        for old in [one.job_id for one in self._jobs.values() if one.ended_at is not None][:-KEPT]:
            del self._jobs[old]
        self._keep(self._follow(job, process, printed, narrated, ended))
        return job

    async def run(self, command: Sequence[str], within_s: float) -> Job:
        """A command that changes nothing, to its end. Raises HostError where it takes too long."""
        job = Job("", command[0], tuple(command), time.time())
        process, printed, narrated = self._start(command)
        try:
            async with asyncio.timeout(within_s):
                await self._follow(job, process, printed, narrated, None)
        except TimeoutError as error:
            raise HostError(f"thunderctl {command[0]} did not end within {within_s:g} s; it was ended.") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return job

    def hand_over(self) -> Job | None:
        """Say that a `down` has come to where it ends this process."""
        job = self.running
        if job is not None and job.action == "down":
            job.moved(JobState.ENDING)
            return job
        return None

    def close(self) -> None:
        """Look after none any more. Their processes go on."""
        for task in self._tasks:
            task.cancel()

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, command: Sequence[str]) -> tuple["subprocess.Popen[bytes]", IO[bytes], IO[bytes]]:
        printed, narrated = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - `_follow` closes them
        try:
            process = subprocess.Popen(
                [*self.launch, "--deployment", self.deployment, *command],
                cwd=self.folder,  # where no thunder.toml lies: what is stored counts
                env={name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=narrated,
                start_new_session=True,
            )
        except OSError as error:
            printed.close()
            narrated.close()
            raise HostError(f"thunderctl {command[0]} can't be started: {error.strerror}.") from error
        return process, printed, narrated

    async def _follow(
        self,
        job: Job,
        process: "subprocess.Popen[bytes]",
        printed: IO[bytes],
        narrated: IO[bytes],
        ended: Callable[[Job], Awaitable[None]] | None,
    ) -> None:
        narration = Narration(narrated)
        with printed, narrated:
            while process.poll() is None:
                job.said, job.said_from_line = narration.look()
                await asyncio.sleep(LOOK_EVERY_S)
            (job.said, job.said_from_line), job.result = narration.look(), _read(printed)
        job.exit_code, job.ended_at = process.returncode, time.time()
        if ended is not None:
            await ended(job)
        job.moved(JobState.DONE if process.returncode == 0 else JobState.FAILED)


class Narration:
    """The last of what a command narrates into a file, and how many lines come before it; read once, not again.

    The process writes where its own end of the file is, which is ours too: nothing is moved.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = b""
        self._offset = self._lines = 0

    def look(self) -> tuple[str, int]:
        """The last of it by now, from the beginning of a line, and the lines before."""
        news = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size - self._offset, self._offset)
        self._offset += len(news)
        self._end += news
        begin = max(0, len(self._end) - SAID_BYTES)
        if begin and (line := self._end.find(b"\n", begin - 1, -1)) >= 0:
            begin = line + 1
        self._lines += self._end.count(b"\n", 0, begin)
        self._end = self._end[begin:]
        return self._end.decode(errors="replace"), self._lines


def _read(printed: IO[bytes]) -> Mapping[str, Any] | None:
    size = os.fstat(printed.fileno()).st_size
    try:
        found = json.loads(os.pread(printed.fileno(), size, 0))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
