"""Somebody at a terminal: commands in processes of their own, in a home of their own, and what is seen from here."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import psutil

from thunderctl.status.status_reading import read_status
from thunderctl.world import open_world

T = TypeVar("T")
WITHIN_S = 500
LOOK_EVERY_S = 0.25
KILLS = 5


class Operator:
    """Runs commands with `variables` beside THUNDER_HOME, which is `home` or the folder `state` in it."""

    def __init__(self, home: Path, *, state: str = "", **variables: str) -> None:
        self.home = home
        self.state = home / state
        self.environment = os.environ | {"THUNDER_HOME": str(self.state), "NO_COLOR": "1"} | variables

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "thunderctl", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, cwd=self.home, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        said, narrated = process.communicate(timeout=WITHIN_S)
        assert process.returncode == code, f"{arguments} ended with {process.returncode}:\n{said}\n{narrated}"
        return said

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run(*arguments, "--json", code=code))
        return document

    def look(self) -> dict[str, Any]:
        """What `status --json` prints, without a process: a second of CPU less, so that it may be asked again."""
        with patch.dict(os.environ, self.environment), open_world("default") as world:
            return asyncio.run(read_status(world))

    def folders(self) -> list[Path]:
        """Of the local provider's machines."""
        return [path for path in (self.state / "local").glob("*") if path.is_dir()]

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on behalf of this home."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def end_all(self) -> None:
        """Take down what a test left up, and end what runs even then: also where that hangs, or is interrupted."""
        try:
            if self.processes():
                with suppress(subprocess.TimeoutExpired):
                    self.start("down", "--yes").communicate(timeout=120)
        finally:
            self._kill_all()

    def _kill_all(self) -> None:
        """Again and again: one that is not ended yet may just have started another."""
        for _ in range(KILLS):
            for process in (left := self.processes()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            if not left:
                return
            psutil.wait_procs(left, timeout=10)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and (
                process.environ().get("THUNDER_HOME") == str(self.state) or process.cwd().startswith(str(self.home))
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


def until(condition: Callable[[], T], seconds: float = 120.0) -> T:
    """What the condition comes to, once it is something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(LOOK_EVERY_S)
    return found


def kv_bytes_received(status: dict[str, Any]) -> float:
    """Bytes of KV that agents have pulled so far."""
    counts = [instance["kv"] for instance in status["instances"]]
    return sum(value for kv in counts for name, value in kv.items() if "received" in name and "bytes" in name)
