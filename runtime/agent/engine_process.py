"""One engine as a process group of its own: launched, or found again, and ended with all that it started."""

import asyncio
import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

import runtime
from runtime.agent.leftovers import (
    is_resource_tracker,
    make_temporary_folder,
    remove_leftovers,
    rendezvous_names,
    session_members,
)
from runtime.agent.shortening import MOST_BYTES, is_long, shorten
from runtime.engine import EngineCommand, socket_path
from runtime.files import write_json
from runtime.messages import EngineSpec
from runtime.processes import ProcessId, is_alive, process_id

log = logging.getLogger(__name__)

KILL_WAIT_S = 5.0
TRACKER_WAIT_S = 2.0
POLL_S = 0.05
PAYLOAD = Path(runtime.__file__).resolve().parent.parent


def record_path(folder: Path, replica: str) -> Path:
    return folder / "run" / f"{replica}.pid.json"


def log_path(folder: Path, replica: str) -> Path:
    return folder / "logs" / f"{replica}.log"


@dataclass(slots=True)
class EngineProcess:
    """A running engine. Its record in run/ lets a later agent find it: pid, start time, spec, what it leaves.

    Its lines begin in its log at `log_start`, which is negative where that was moved aside (`logs.tail`).
    """

    folder: Path
    spec: EngineSpec
    process: ProcessId
    temporary: Path
    log_start: int = 0
    segments: frozenset[str] = frozenset()
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def launch(cls, folder: Path, spec: EngineSpec, command: EngineCommand) -> Self:
        """Start `command` as the leader of a session, in `folder`, its output at the end of its log.

        Raises OSError for a program that isn't there, or a disk that takes nothing: then nothing runs.
        """
        (folder / socket_path(spec.replica)).unlink(missing_ok=True)
        with ExitStack() as unless_launched:
            temporary = make_temporary_folder()
            unless_launched.callback(remove_leftovers, temporary, ())
            with log_path(folder, spec.replica).open("ab") as output:
                log_start = output.seek(0, os.SEEK_END)
                child = subprocess.Popen(
                    command.argv,
                    cwd=folder,
                    env=_environment(command.env, temporary),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            unless_launched.callback(_end_at_once, child)
            engine = cls(folder, spec, process_id(child.pid), temporary, log_start, child=child)
            engine.record()  # without, no later agent would find it, and nobody would ever end it
            unless_launched.pop_all()
        return engine

    @classmethod
    def find(cls, folder: Path, record: Path) -> Self:
        """The engine a record tells of, running or not. Raises ValueError, KeyError, TypeError for a bad record."""
        said = json.loads(record.read_bytes())
        process = ProcessId(int(said["pid"]), float(said["started_at"]))
        spec, temporary = EngineSpec.from_json(said["spec"]), Path(said["temporary"])
        return cls(folder, spec, process, temporary, int(said["log_start"]), frozenset(said["segments"]))

    def record(self) -> None:
        """Write down what names this process and what it would leave behind, as known now."""
        self.segments |= rendezvous_names(self.temporary)
        document = {
            "pid": self.process.pid,
            "started_at": self.process.started_at,
            "spec": self.spec.to_json(),
            "temporary": str(self.temporary),
            "log_start": self.log_start,
            "segments": sorted(self.segments),
        }
        write_json(record_path(self.folder, self.spec.replica), document)

    async def shorten_log(self, most_bytes: int = MOST_BYTES) -> bool:
        """Whether its log had grown, and was moved aside. Raises OSError."""
        path = log_path(self.folder, self.spec.replica)
        if not is_long(path, most_bytes):
            return False
        self.log_start -= await asyncio.to_thread(shorten, path, most_bytes)
        return True

    def is_alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return is_alive(self.process)

    def how_it_ended(self) -> str:
        """In words, as far as its parent may know."""
        code = self.child.poll() if self.child is not None else None
        if code is None:
            return "The engine ended; only the agent process that started it could know how."
        if code < 0:
            hint = "; the host may be out of memory" if code == -signal.SIGKILL else ""
            return f"The engine was killed by {signal.Signals(-code).name}{hint}."
        return f"The engine ended with exit code {code}."

    async def end(self, grace_s: float) -> None:
        """Ask it to finish its requests and stop, wait, then kill what is left of its session; clean up after it."""
        self.segments |= rendezvous_names(self.temporary)  # an engine that ends well removes the file, not the segments
        if self.is_alive() and grace_s > 0:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
            await _until(lambda: not self.is_alive(), grace_s)
        await self.sweep()

    async def sweep(self) -> None:
        """Kill what is left of its session, its helpers last, and remove what it leaves on the host."""
        self.segments |= rendezvous_names(self.temporary)
        _kill(self._workers())
        await _until(lambda: not self.is_alive() and not self._workers(), KILL_WAIT_S)
        await _until(lambda: not session_members(self.process), TRACKER_WAIT_S)
        _kill(session_members(self.process))
        await asyncio.to_thread(remove_leftovers, self.temporary, self.segments)
        for path in (record_path(self.folder, self.spec.replica), self.folder / socket_path(self.spec.replica)):
            path.unlink(missing_ok=True)

    def _workers(self) -> list[psutil.Process]:
        return [member for member in session_members(self.process) if not is_resource_tracker(member)]


async def _until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for `condition`, at most so long."""
    for _ in range(round(within_s / POLL_S)):
        if condition():
            return
        await asyncio.sleep(POLL_S)


def _end_at_once(child: subprocess.Popen[bytes]) -> None:
    """A process that has hardly begun, with all of its session."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _environment(extra: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """The agent's own, the engine's, the code that the connector comes from, and a temporary folder of its own."""
    paths = [str(PAYLOAD), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **extra, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(temporary)}
