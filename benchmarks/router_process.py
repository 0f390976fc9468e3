"""A router in a process of its own before mock engines, for the benchmarks of its memory and of its staying up."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

READY_S = 20.0
STOP_S = 30.0
PATIENT_S = 3600.0
"""Clients that read nothing are what is measured: they are not ended meanwhile."""
AGENT = "bench.agent.thunder"
ADMIN_TOKEN = "bench"
ENTRY = "from benchmarks.router_process import main; main()"


@dataclass(frozen=True, slots=True)
class RouterProcess:
    """A router that serves on a port of loopback."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def mock_router(
    engines: Mapping[str, int], *, max_in_flight: int, tls_folder: Path | None = None, files: int | None = None
) -> Iterator[RouterProcess]:
    """A router over engines by name (p…, d…) and port, all pairs of which are routes of equal share.

    With credentials the engines are behind agents, which it asks over mutual TLS. It may open so many `files` at most.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "routes.json").write_text(json.dumps(routes_of(engines, (lambda _: AGENT) if tls_folder else None)))
        command = [
            sys.executable,
            "-P",
            "-c",
            ENTRY,
            name,
            str(max_in_flight),
            *([str(tls_folder)] if tls_folder else []),
        ]
        root = str(Path(__file__).parents[1])
        with (folder / "router.log").open("wb") as log:
            process = subprocess.Popen(limited(files) + command, stderr=log, env=os.environ | {"PYTHONPATH": root})
        try:
            yield RouterProcess(process.pid, _port(folder / "router.json", process))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)


def limited(files: int | None) -> list[str]:
    """The command before another that bounds its open files."""
    return ["prlimit", f"--nofile={files}:{files}"] if files else []


def main() -> None:
    """The router's side."""
    from runtime.router.process import run_router
    from runtime.router.settings import RouterSettings

    folder, max_in_flight, *tls = Path(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:])
    settings = RouterSettings(max_in_flight=max_in_flight, stop_grace_s=0.1, client_idle_s=PATIENT_S)
    state = folder / "router.json"
    run_router(
        folder / "routes.json",
        "127.0.0.1:0",
        tls_folder=tls[0] if tls else None,
        admin_token=ADMIN_TOKEN,
        state_path=state,
        settings=settings,
    )


def routes_of(engines: Mapping[str, int], agent_of: Callable[[str], str] | None = None) -> dict[str, object]:
    """Routes over engines by name and port, or over agents: each has the name in its certificate from `agent_of`."""
    prefills, decodes = ([name for name in engines if name[0] == kind] for kind in "pd")
    share = 1 / (len(prefills) * len(decodes))
    phases = {"p": "prefill", "d": "decode"}
    return {
        "schema": "thunder.routes/v1",
        "epoch": 1,
        "model": "mock",
        "replicas": [
            {"id": name, "phase": phases[name[0]], **address(name, port, agent_of(name) if agent_of else "")}
            for name, port in engines.items()
        ],
        "routes": [
            {"prefill": prefill, "decode": decode, "share": share, "codec": "int4"}
            for prefill in prefills
            for decode in decodes
        ],
    }


def address(name: str, port: int, agent: str) -> dict[str, str]:
    """Of an engine, or of the agent before it, by the name in its certificate."""
    if not agent:
        return {"url": f"http://127.0.0.1:{port}"}
    return {"url": f"https://127.0.0.1:{port}/r/{name}", "server_name": agent}


def resident_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def _port(state: Path, process: "subprocess.Popen[bytes]") -> int:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if state.exists():
            port: int = json.loads(state.read_text())["port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=READY_S):
                return port
        time.sleep(0.05)
    raise RuntimeError("the router did not come up")
