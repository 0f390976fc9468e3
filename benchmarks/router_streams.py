"""What ten thousand streams cost the router in memory; writes `benchmarks/results/router_streams.md`.

.venv/bin/python -m benchmarks.router_streams [--streams N] [--only idle|unread]

Two cases, each over a fresh router with mock engines and clients in processes of their own: engines that said one token
and then nothing, and clients that read nothing while engines send all that is taken from them. The clients and engines
give their sockets small buffers, so that what is not read lies in the router, not in the kernel.
"""

import argparse
import os
import platform
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.counting_engine import start_engine
from benchmarks.router_process import AGENT, mock_router, resident_mb
from runtime.open_files import most_requests
from runtime.router.settings import RouterSettings
from thunderctl.calibration.record import Machine
from thunderctl.keys.certificates import ensure_authority, issue

TARGET = Path(__file__).parent / "results" / "router_streams.md"
STREAMS = 10_000
CLIENTS = 2
RECEIVE_BUFFER_BYTES = 4096
MOST_SETTLE_S = 60.0
STILL_S = 5.0
LIMIT_MB = 1500.0
SILENT, AT_ONCE = -1.0, 0.0
MOST_UNREAD = 1000
"""More would take all that the kernel grants TCP on a machine of this size, from everybody on it."""
CASES = {
    "idle": ("silent engines", SILENT, False),
    "secure": ("silent engines behind agents", SILENT, True),
    "unread": ("clients that don't read", AT_ONCE, False),
}
HEAD = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"prompt":"1 2 3 1000","max_tokens":1000000000,"stream":true}'


@dataclass(frozen=True, slots=True)
class Held:
    """What a router held before and with so many streams open, and the CPU seconds it took in the `STILL_S` after."""

    streams: int
    before_mb: float
    with_mb: float
    peak_mb: float
    kernel_mb: float
    still_cpu_s: float

    @property
    def kb_per_stream(self) -> float:
        return (self.with_mb - self.before_mb) * 1e3 / self.streams


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, default=STREAMS)
    options.add_argument("--only", choices=CASES)
    asked = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    streams = min(asked.streams, most_requests(RouterSettings().max_queued))
    most = {"unread": min(streams, MOST_UNREAD)}
    cases = [case for case in CASES if asked.only in (None, case)]
    found = {case: measured(most.get(case, streams), *CASES[case][1:]) for case in cases}
    text = "\n".join([*header(asked.streams, streams), *table(found)])
    if asked.only is None and asked.streams == STREAMS:
        TARGET.write_text(text + "\n", encoding="utf-8")
    print(text)


def header(wanted: int, streams: int) -> Iterator[str]:
    machine = Machine.here()
    yield "# What open streams cost the router"
    yield ""
    yield f"Measured by `benchmarks/router_streams.py` on {machine.cores} cores of {machine.cpu},"
    yield f"Python {platform.python_version()}. Resident memory of the router's process; a stream is a connection of a"
    yield "client and one to an engine, after a prefill leg; agents are asked over mutual TLS. Kernel: TCP's buffers of"
    yield "the whole machine, of both ends of all connections."
    if streams < wanted:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield f"A process may open {most} files on this machine: {streams} streams stand for {wanted}."
    yield f"Of clients that don't read there are {MOST_UNREAD} at most: the kernel grants TCP no more memory."


def table(found: dict[str, Held]) -> Iterator[str]:
    yield ""
    yield "| streams of | open | before, MB | with them, MB | peak, MB | KB a stream | kernel, MB | CPU afterwards |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for case, held in found.items():
        sizes = f"{held.before_mb:.0f} | {held.with_mb:.0f} | {held.peak_mb:.0f} | {held.kb_per_stream:.0f}"
        share = held.still_cpu_s / STILL_S
        yield f"| {CASES[case][0]} | {held.streams} | {sizes} | {held.kernel_mb:.0f} | {share:.0%} |"
    yield ""
    most = max(held.before_mb + held.kb_per_stream * STREAMS / 1e3 for held in found.values())
    word = "met" if most <= LIMIT_MB else "**missed**"
    yield f"Target, {STREAMS} streams in {LIMIT_MB:.0f} MB: {word} (at the worst of these, {most:.0f} MB)."


def measured(streams: int, step_s: float, secure: bool) -> Held:
    with TemporaryDirectory() as name:
        tls_folder, agent_folder = issued(Path(name)) if secure else (None, None)
        engine = start_engine(step_s=step_s, tls_folder=agent_folder)
        try:
            return held({"p0": engine.port, "d0": engine.port}, streams, tls_folder)
        finally:
            engine.kill()


def issued(folder: Path) -> tuple[Path, Path]:
    """Credentials of a router and of an agent, as `up` hands them out."""
    ensure_authority(folder / "ca")
    for name in ("router.thunder", AGENT):
        issue(folder / "ca", name, folder / name)
    return folder / "router.thunder", folder / AGENT


def held(engines: dict[str, int], streams: int, tls_folder: Path | None) -> Held:
    with mock_router(engines, max_in_flight=2 * streams, tls_folder=tls_folder) as router:
        process = psutil.Process(router.pid)
        before_mb = resident_mb(process)
        with clients(router.port, streams):
            with_mb = settled_mb(process)
            spent_s = cpu_s(process)
            time.sleep(STILL_S)
            spent_s = cpu_s(process) - spent_s
            return Held(streams, before_mb, with_mb, peak_mb(router.pid), kernel_mb(), spent_s)


@contextmanager
def clients(port: int, streams: int) -> Iterator[None]:
    """Clients that have opened so many streams, and read no more than the first bytes of each."""
    context, started = get_context("fork"), []
    for _ in range(CLIENTS):
        ours, theirs = context.Pipe()
        process = context.Process(target=open_streams, args=(port, streams // CLIENTS, theirs), daemon=True)
        process.start()
        started.append((process, ours))
    try:
        opened = sum(_answer(process, pipe) for process, pipe in started)
        assert opened == streams // CLIENTS * CLIENTS, f"{opened} of {streams} streams were opened"
        yield
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _answer(process: BaseProcess, pipe: Connection) -> int:
    while not pipe.poll(1.0):
        assert process.is_alive(), "a client died"
    return int(pipe.recv())


def open_streams(port: int, count: int, told: Connection) -> None:
    """Open them one by one, say how many answered 200, and keep them until killed."""
    opened = []
    head = f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n".encode()
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection.connect(("127.0.0.1", port))
        connection.sendall(head + BODY)
        if connection.recv(12).endswith(b" 200"):
            opened.append(connection)
    told.send(len(opened))
    time.sleep(3600)


def settled_mb(process: psutil.Process) -> float:
    """Its memory once that has stopped growing."""
    until, last = time.monotonic() + MOST_SETTLE_S, 0.0
    while time.monotonic() < until and (now := resident_mb(process)) > last * 1.005:
        last = now
        time.sleep(2.0)
    return resident_mb(process)


def cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def kernel_mb() -> float:
    """What TCP holds in the kernel."""
    words = Path("/proc/net/sockstat").read_text(encoding="utf-8").split("TCP: ")[1].split("\n")[0].split()
    return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGESIZE") / 1e6


if __name__ == "__main__":
    main()
