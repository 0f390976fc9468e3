"""An agent's supervisor over stub engines, for the tests of the agent."""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

from runtime.agent.shortening import MOST_BYTES
from runtime.agent.supervisor import Supervisor
from runtime.engine import EngineCommand, socket_path
from runtime.messages import EngineHealth, EngineSpec

STUB = Path(__file__).with_name("engine_stub.py")


def spec_of(replica: str = "r0", behaviour: str = "good", **fields: object) -> EngineSpec:
    """A specification whose model says how the stub behaves."""
    values = {"served_name": uuid.uuid4().hex, "dtype": "float16", "max_model_len": 64, "kv_cache_bytes": 1, **fields}
    return EngineSpec(replica=replica, model=behaviour, device="cpu", **values)


def stub_command(spec: EngineSpec) -> EngineCommand:
    """The stub in place of vLLM; its shared memory is named after `served_name`."""
    argv = (sys.executable, "-S", "-E", str(STUB), spec.model, socket_path(spec.replica), spec.served_name)
    return EngineCommand(argv, {})


def supervisor_in(folder: Path, *, stop_grace_s: float = 5.0, log_bytes: int = MOST_BYTES) -> Supervisor:
    for name in ("run", "logs"):
        (folder / name).mkdir(exist_ok=True)
    return Supervisor(folder, command=stub_command, stop_grace_s=stop_grace_s, poll_s=0.02, log_bytes=log_bytes)


async def until_state(supervisor: Supervisor, state: str, replica: str = "r0") -> EngineHealth:
    """Wait for an engine to be in a state, and say what is known of it."""

    async def health() -> EngineHealth | None:
        return next((engine for engine in await supervisor.health() if engine.replica == replica), None)

    async with asyncio.timeout(10):
        while (found := await health()) is None or found.state != state:
            await asyncio.sleep(0.01)
    return found


def session_of(leader: int) -> list[int]:
    """The live processes of a session."""

    def in_session(pid: int) -> bool:
        try:
            return os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            return False

    return [pid for pid in psutil.pids() if in_session(pid)]


def segments_of(spec: EngineSpec) -> list[Path]:
    return list(Path("/dev/shm").glob(f"*{spec.served_name}*"))


def wait_for(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Outside an event loop: until a process of ours has done what it will."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
