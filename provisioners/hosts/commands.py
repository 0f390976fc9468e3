"""The commands that prepare an instance, as values, and how one is carried out."""

import asyncio
import posixpath
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, assert_never

from planner.errors import HostError, HostUnfit
from provisioners.hosts import watching
from provisioners.hosts.watching import Narrate, Watch, unheard, watched

if TYPE_CHECKING:
    from provisioners.transport import Transport

DISK_FULL = "No space left on device"
UNFIT = 70
"""The code by which a command says that this machine will never do: its GPU can't be computed on."""


@dataclass(frozen=True, slots=True)
class Put:
    """Make the file `path` hold `data`."""

    path: str
    data: bytes = field(repr=False)
    mode: int

    @property
    def why(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Send:
    """Make `path` a copy of a file of this machine; sent again after a loss, it goes on where it ended.

    A source that is made or fetched at its first use is a function. It is one file of those that are sent to its
    folder; `total` is what they all take, in bytes (0: not known).
    """

    source: Path | Callable[[], Path]
    path: str
    total: int = 0

    @property
    def why(self) -> str:
        return f"send {self.path}"

    @property
    def watch(self) -> Watch:
        return Watch(grows=(posixpath.dirname(self.path) or ".",), total=self.total)


@dataclass(frozen=True, slots=True)
class Run:
    """Run a shell command; `why` says what for, in words that continue "to ...".

    `stdin` makes what the command reads, at the moment when it does: signed addresses expire, and what comes this way
    is never on the instance's disk. `watch` is what shows how far the command is.
    """

    command: str
    timeout_s: float
    why: str
    stdin: Callable[[], Awaitable[bytes]] | None = field(default=None, repr=False)
    watch: Watch = field(default_factory=Watch)


Command: TypeAlias = Put | Send | Run


async def carry_out(
    transport: "Transport",
    command: Command,
    narrate: Narrate = lambda _text: None,
    moved: Callable[[], None] = unheard,
) -> None:
    """Do one command; `narrate` hears what for, and how far it is, `moved` that it got further. Raises HostError."""
    narrate(command.why)
    moved()

    def tell(words: str) -> None:
        narrate(f"{command.why}: {words}")

    match command:
        case Put(path, data, mode):
            await transport.put(path, data, mode)
        case Send():
            async with watched(transport, command.watch, tell, moved):
                await _send(transport, command)
        case Run():
            async with watched(transport, command.watch, tell, moved):
                await _run(transport, command, moved)
        case _:
            assert_never(command)


async def _send(transport: "Transport", command: Send) -> None:
    source = command.source
    await transport.send(source if isinstance(source, Path) else await asyncio.to_thread(source), command.path)


async def _run(transport: "Transport", command: Run, moved: Callable[[], None]) -> None:
    stdin = await _made(command.stdin, moved) if command.stdin else b""
    done = await transport.run(command.command, timeout_s=command.timeout_s, stdin=stdin)
    if done.code != 0:
        kind = HostUnfit if done.code == UNFIT or DISK_FULL in done.complaint else HostError
        raise kind(f"The command to {command.why} failed with code {done.code}: {done.complaint}")


async def _made(make: Callable[[], Awaitable[bytes]], moved: Callable[[], None]) -> bytes:
    """What a command reads. While it is made here, as digests of weights are, no machine is slow."""
    making = asyncio.ensure_future(make())
    try:
        while not making.done():
            await asyncio.wait({making}, timeout=watching.LOOK_EVERY_S)
            moved()
        return making.result()
    finally:
        making.cancel()
