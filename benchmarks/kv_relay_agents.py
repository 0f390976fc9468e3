"""Two real agents in processes of their own, and this process at their doors: it makes tickets and has them pulled."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.agent.config import AgentConfig
from runtime.engine import CONNECTOR_SOCKET
from runtime.messages import agent_name
from runtime.relay.door import AgentDoor
from runtime.relay.session import AgentGone
from runtime.relay.ticket import format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER, seal
from runtime.tiles.layout import Layout
from thunderctl.keys.certificates import ensure_authority, issue

READY_S = 15.0
FETCH_S = 120.0
ROOT = Path(__file__).parent.parent
SPARE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Side:
    """One agent: where it listens, the command that its process is started through (to enter a network), and more."""

    name: str
    host: str = "127.0.0.1"
    through: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


class AgentPair:
    """A prefill and a decode agent that run, and a ready ticket between them."""

    def __init__(self, source: AgentDoor, target: AgentDoor, kv_format: KvFormat) -> None:
        self.source = source
        self.target = target
        self.format = kv_format
        self._ticket = self._encoded()

    @property
    def bytes(self) -> int:
        return Layout(self.format, self.format.whole).size

    def pull(self) -> float:
        """Seconds that the decode agent takes to have all tiles in its pool, as its engine sees it."""
        box = self.format.whole.row
        started = time.perf_counter()
        answer = self.target.call(
            "fetch", {"ticket": self._ticket, "box": box, "timeout_s": FETCH_S}, timeout_s=FETCH_S
        )
        taken_s = time.perf_counter() - started
        self.target.call("release", {"offset": answer["offset"]}, timeout_s=5)
        return taken_s

    def _encoded(self) -> dict[str, Any]:
        """A ticket whose tiles hold chance."""
        asked = {"format": format_json(self.format), "binding": "benchmark", "ranks": 1, "readers": 1024}
        answer = self.source.call("reserve", asked, timeout_s=5)
        data = self.source.session().memory.view(answer["offset"], answer["length"])
        tag, layout = bytes.fromhex(answer["ticket"]["ticket"]), Layout(self.format, self.format.whole)
        noise = os.urandom(self.format.frame_bytes(0, 0))
        for tile, at, length in layout.frames():
            frame = data[at : at + length]
            frame[HEADER.size :] = noise[: length - HEADER.size]
            seal(frame, self.format.prefix(tile, tag))
        self.source.call("encoded", {"ticket": answer["ticket"]["ticket"], "seconds": 0.0}, timeout_s=5)
        return dict(answer["ticket"])


@contextmanager
def agent_pair(folder: Path, kv_format: KvFormat, sides: Sequence[Side]) -> Iterator[AgentPair]:
    """Start both, and end them at the end."""
    pool_bytes = Layout(kv_format, kv_format.whole).size + SPARE_BYTES
    with ExitStack() as stack:
        doors = [stack.enter_context(_agent(folder, side, pool_bytes)) for side in sides]
        yield AgentPair(doors[0], doors[1], kv_format)


@contextmanager
def _agent(folder: Path, side: Side, pool_bytes: int) -> Iterator[AgentDoor]:
    place = folder / side.name
    place.mkdir()
    ensure_authority(folder / "ca")
    issue(folder / "ca", agent_name(side.name), place / "tls")
    config = AgentConfig(side.name, host=side.host, pool_bytes=pool_bytes, ticket_ttl_s=3600.0, **side.config)
    (place / "agent.json").write_text(json.dumps(asdict(config)))
    command = [*side.through, sys.executable, "-P", "-m", "runtime.agent", "agent.json"]
    with (place / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=place, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    door = AgentDoor(os.path.relpath(place / CONNECTOR_SOCKET), owner="engine", rank=0)
    try:
        _open(door)
        yield door
    finally:
        door.close()
        process.terminate()
        process.wait(10)


def _open(door: AgentDoor) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            return door.open()
        except AgentGone:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
