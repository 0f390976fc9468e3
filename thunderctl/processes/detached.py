"""Processes of this host that outlive the command which starts them: known by a file that they write themselves."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from planner.errors import HostError, SpecError
from runtime.processes import ProcessId, is_alive

START_DEADLINE_S = 60.0
"""Imports take a second or two; on a host that is busy, many."""
LOOK_EVERY_S = 0.1


def running(state_file: Path) -> dict[str, Any] | None:
    """What the file says (pid, started_at and more), where that very process is alive."""
    try:
        state: dict[str, Any] = json.loads(state_file.read_text())
        return state if is_alive(ProcessId(state["pid"], state["started_at"])) else None
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


async def start(
    what: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    is_up: Callable[[int], bool],
    deadline_s: float = START_DEADLINE_S,
) -> None:
    """Start it in a session of its own, and wait until `is_up(its pid)`. Raises HostError, or what it said itself.

    Cancelled before, it ends what it has started.
    """
    with log.open("ab") as stream:
        mark = stream.tell()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        for _ in range(round(deadline_s / LOOK_EVERY_S)):
            if is_up(process.pid):
                return
            if process.poll() is not None:
                raise _failed(what, process.returncode, log.read_bytes()[mark:])
            await asyncio.sleep(LOOK_EVERY_S)
    except BaseException:  # who is told to stop waiting leaves none behind that comes up unseen
        _killed(process)
        raise
    _killed(process)
    raise HostError(f"The {what} was not up within {deadline_s:.0f} s.", hint=f"See: thunderctl logs {what}")


def _killed(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _failed(what: str, code: int, output: bytes) -> HostError | SpecError:
    """What it said itself, with the hint that it gave."""
    said = output.decode(errors="replace").strip()
    kind = SpecError if code == SpecError.exit_code else HostError
    message, _, hint = said.removeprefix("error: ").partition("\nhint: ")
    return kind(f"The {what} did not start: {message or 'it said nothing'}", hint=hint)


async def awaited(state_file: Path, maker: Path, *, deadline_s: float = START_DEADLINE_S) -> bool:
    """Whether a process writes its state file within the deadline, and while that one lives which `maker` names."""
    for _ in range(round(deadline_s / LOOK_EVERY_S)):
        if running(state_file) is not None:
            return True
        if running(maker) is None:
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return False


async def start_unit(unit: str, *, is_up: Callable[[], bool], deadline_s: float = START_DEADLINE_S) -> bool:
    """Have the user's systemd start a unit of its; False where it can't, or nothing is up by then."""
    command = ("systemctl", "--user", "start", "--no-block", unit)
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    if await process.wait() != 0:
        return False
    for _ in range(round(deadline_s / LOOK_EVERY_S)):
        if is_up():
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return False


async def stop(state: Mapping[str, Any] | None, grace_s: float) -> None:
    """End it, by force after the grace. None, or one that is gone, is a success."""
    if state is None:
        return
    process = ProcessId(state["pid"], state["started_at"])
    _signal(process, signal.SIGTERM)
    for _ in range(round(grace_s / LOOK_EVERY_S)):
        if not is_alive(process):
            return
        await asyncio.sleep(LOOK_EVERY_S)
    _signal(process, signal.SIGKILL)


def _signal(process: ProcessId, number: signal.Signals) -> None:
    """It may end by itself between the look and the signal."""
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
