"""While something is carried out on an instance: how far it is, and that the instance is wanted still."""

import asyncio
import shlex
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from planner.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioners.transport import Transport

LOOK_EVERY_S = 2.0
LOOK_TIMEOUT_S = 30.0
MB, GB = 10**6, 10**9

Narrate: TypeAlias = Callable[[str], None]


def unheard() -> None:
    """Tell nobody that something moved."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What shows on the instance how far a command is: the last line of the file `said`, and the bytes in `grows`.

    Bytes are told of how many there will be, `total`; 0: of how many is not known, and None: they are not told.
    """

    said: str = ""
    grows: tuple[str, ...] = ()
    total: int | None = None

    @property
    def command(self) -> str:
        """Prints the line, and then the bytes. It tells the instance's own switch that the instance is wanted."""
        said = f"tail -n 1 {shlex.quote(self.said)} 2>/dev/null" if self.said else ":"
        line = f'printf "%s\\n" "$({said})"'  # `echo` would take what is said after a backslash for a sign of its own
        paths = shlex.join(self.grows)
        size = f"; du -sbc -- {paths} 2>/dev/null | tail -n 1 | cut -f 1" if paths else ""
        return f"mkdir -p run && touch run/renewed; {line}{size}"

    def words(self, line: str, size: str) -> str:
        """For people; empty where there is nothing to tell."""
        grown = amount(int(size) if size.isdecimal() else 0, self.total) if self.total is not None else ""
        return ", ".join(filter(None, (line, grown)))


@asynccontextmanager
async def watched(
    transport: "Transport", watch: Watch, tell: Narrate, moved: Callable[[], None] = unheard
) -> "AsyncIterator[None]":
    """Look again and again while the block runs: `tell` hears how far it is, and `moved` whenever that has changed."""
    looking = asyncio.create_task(_look(transport, watch, tell, moved))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _look(transport: "Transport", watch: Watch, tell: Narrate, moved: Callable[[], None]) -> None:
    """A look that fails says nothing: what is carried out itself will."""
    before, told = "\n", ""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            done = await transport.run(watch.command, timeout_s=LOOK_TIMEOUT_S)
        except HostError:
            continue
        seen = done.stdout.decode(errors="replace")
        if seen != before:
            before = seen
            moved()
        line, _, size = seen.partition("\n")
        words = watch.words(line.strip(), size.strip())
        if words and words != told:
            told = words
            tell(words)


def amount(done: int, total: int = 0) -> str:
    """`3.1 of 61.0 GB`, in MB where it is less than one of them; `3.1 GB` where the total is not known."""
    unit, name = (GB, "GB") if max(done, total) >= GB else (MB, "MB")
    of = f" of {total / unit:.1f}" if total else ""
    return f"{done / unit:.1f}{of} {name}"
