"""Real agents in processes of their own, engines at their doors, and a wire between them that can be cut."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.agent.config import AgentConfig
from runtime.engine import CONNECTOR_SOCKET
from runtime.messages import CONTROLLER_NAME, AgentHealth, agent_name
from runtime.relay.door import AgentDoor
from runtime.relay.session import AgentGone
from runtime.relay.ticket import Ticket, format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, seal
from runtime.tiles.layout import Layout
from runtime.tls import client_context
from tests.runtime.wire import Wire
from thunderctl.keys.certificates import ensure_authority, issue

ROOT = Path(__file__).parents[2]
READY_S = 20.0
CALL_S = 20.0
FETCH_S = 10.0

Json = dict[str, Any]


class AgentProcess:
    """One agent in a folder of its own, and an engine of one rank at its door."""

    def __init__(self, folder: Path, name: str, clock_ahead_s: float = 0.0, **config: Any) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        ensure_authority(folder / "ca")
        issue(folder / "ca", agent_name(name), self.folder / "tls")
        issue(folder / "ca", CONTROLLER_NAME, self.folder / "controller")
        (self.folder / "agent.json").write_text(json.dumps(AgentConfig(name, **config).to_json()))
        self._environment = {**os.environ, "PYTHONPATH": f"{_clock(self.folder, clock_ahead_s)}{ROOT}"}
        self.start()

    def start(self) -> None:
        """Run the agent, and come to its door."""
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "runtime.agent", "agent.json"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        self.door = self.engine()

    def engine(self, rank: int = 0) -> AgentDoor:
        """Another process at its door, as soon as that is open."""
        door = AgentDoor(os.path.relpath(self.folder / CONNECTOR_SOCKET), owner="engine", rank=rank)
        assert soon(lambda: _opens(door), READY_S), self.log
        return door

    def kill(self) -> None:
        """As a crash or a lost machine would end it. Safe to repeat."""
        self.door.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        self.door.close()
        self.process.terminate()
        self.process.wait(20)

    @property
    def port(self) -> int:
        return json.loads((self.folder / "run" / "agent.pid.json").read_text())["port"]

    @property
    def health(self) -> AgentHealth:
        with closing(_Https(self.port, agent_name(self.name), self.folder / "controller")) as connection:
            connection.request("GET", "/health")
            return AgentHealth.from_json(json.loads(connection.getresponse().read()))

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def counted(self, what: str) -> float:
        return self.health.kv.get(what, 0)

    @property
    def is_empty(self) -> bool:
        """No ticket, and no byte of the pool in use."""
        health = self.health
        return (health.tickets, health.pool_used_bytes) == (0, 0)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Its open files, and its sockets."""
        links = [str(link.readlink()) for link in Path(f"/proc/{self.process.pid}/fd").iterdir() if link.is_symlink()]
        sockets = sum(link.startswith("socket:") for link in links)
        return len(links) - sockets, sockets

    @property
    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    @property
    def private_bytes(self) -> int:
        """Memory of its own: not the pool, which engines share."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) << 10


@dataclass(frozen=True, slots=True)
class Pair:
    """A prefill and a decode agent; tiles go over the wire."""

    source: AgentProcess
    target: AgentProcess
    wire: Wire

    @property
    def is_empty(self) -> bool:
        return self.source.is_empty and self.target.is_empty


@contextmanager
def agent_pair(folder: Path, clocks_ahead_s: tuple[float, float] = (0.0, 0.0), **config: Any) -> Iterator[Pair]:
    """Start both, and end what is left of them."""
    with ExitStack() as stack:
        wire = Wire(lambda: 0)
        stack.callback(wire.close)
        source = AgentProcess(folder, "p", clocks_ahead_s[0], advertise_port=wire.port, **config)
        stack.callback(source.stop)
        wire.to = lambda: source.port
        target = AgentProcess(folder, "d", clocks_ahead_s[1], **config)
        stack.callback(target.stop)
        yield Pair(source, target, wire)


def prompt(source: AgentProcess, kv_format: KvFormat, *, readers: int = 1, sound: bool = True) -> Json:
    """A ready ticket whose tiles follow from its name, or, unless they are `sound`, are damaged."""
    answer = reserve(source, kv_format, readers)
    data = source.door.session().memory.view(answer["offset"], answer["length"])
    data[:] = tiles_of(answer["ticket"])
    if not sound:
        data[HEADER.size + 1] ^= 1
    encoded(source, answer["ticket"])
    return answer["ticket"]


def reserve(source: AgentProcess, kv_format: KvFormat, readers: int = 1, ranks: int = 1) -> Json:
    """What the prefill engine's scheduler asks for. Raises AgentRefused."""
    asked = {"format": format_json(kv_format), "binding": "b", "ranks": ranks, "readers": readers}
    return source.door.call("reserve", asked, timeout_s=CALL_S)


def encoded(source: AgentProcess, ticket: Json) -> None:
    source.door.call("encoded", {"ticket": ticket["ticket"], "seconds": 0.0}, timeout_s=CALL_S)


def tiles_of(ticket: Json) -> bytearray:
    """The frames of a whole ticket, by its name alone."""
    known = Ticket.from_json(ticket)
    layout, seed = Layout(known.format, known.format.whole), sum(known.tag)
    data = bytearray(layout.size)
    view = memoryview(data)
    for number, (tile, at, length) in enumerate(layout.frames()):
        view[at + HEADER.size : at + length] = bytes([(seed + number) % 251]) * (length - HEADER.size)
        seal(view[at : at + length], known.format.prefix(tile, known.tag))
    return data


def fetched(target: AgentProcess, ticket: Json, *, timeout_s: float = FETCH_S, door: AgentDoor | None = None) -> bytes:
    """What the decode engine finds in its agent's pool. Raises AgentRefused."""
    at = door or target.door
    fields = {"ticket": ticket, "box": Ticket.from_json(ticket).format.whole.row, "timeout_s": timeout_s}
    answer = at.call("fetch", fields, timeout_s=timeout_s + CALL_S)
    data = bytes(at.session().memory.view(answer["offset"], answer["length"]))
    at.call("release", {"offset": answer["offset"]}, timeout_s=CALL_S)
    return data


def acknowledge(target: AgentProcess, ticket: Json) -> None:
    target.door.call("ack", {"ticket": ticket}, timeout_s=CALL_S)


def soon(condition: Callable[[], object], within_s: float = 10.0) -> bool:
    """Whether it becomes true."""
    end = time.monotonic() + within_s
    while not (true := bool(condition())) and time.monotonic() < end:
        time.sleep(0.02)
    return true


class _Https(http.client.HTTPConnection):
    """To a port of this host, whose certificate must hold `name`."""

    def __init__(self, port: int, name: str, tls: Path) -> None:
        super().__init__("127.0.0.1", port, timeout=20)
        self._name = name
        self._tls = tls

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = client_context(self._tls).wrap_socket(plain, server_hostname=self._name)


def _opens(door: AgentDoor) -> bool:
    try:
        door.open()
    except AgentGone:
        return False
    return True


CLOCKS = ("time", "monotonic")


def _clock(folder: Path, ahead_s: float) -> str:
    """What goes before PYTHONPATH for a process whose clocks are ahead, or, below 0, behind."""
    if not ahead_s:
        return ""
    place = folder / "clock"
    place.mkdir()
    lines = ["import time", *(f"time.{name} = lambda now=time.{name}: now() + {ahead_s}" for name in CLOCKS)]
    (place / "sitecustomize.py").write_text("\n".join(lines))
    return f"{place}{os.pathsep}"
