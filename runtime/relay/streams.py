"""Streams to other agents, kept open between questions and lent to one at a time, whichever side dialled them.

An agent is known by the name in its certificate. One that can be dialled is dialled when no stream to it is idle; one
that can't dials us (`reverse.py`), and whoever wants to ask it waits until one of its streams is free.
"""

import asyncio
import contextlib
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from runtime.relay.exchange import PeerUnreachable
from runtime.relay.patience import STALL_S
from runtime.relay.stream import HELLO, Stream
from runtime.relay.ticket import AgentAddress

LIMIT_STREAMS = 32
"""To one agent. A pull holds one, or some, as long as its prompt is computed; all pulls together leave one, where there
are two. What is said of tickets takes a round trip, and must not wait until others' tiles have come."""

DIAL_S = 5.0

NEAR_S = 0.002
"""A round trip. A connection's usual window of 6 MB is 24 Gbit/s of it, more than one agent can decrypt."""


class Streams:
    """By the name of the agent they lead to. Without an ssl context nobody can be dialled (tests of one agent)."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._ways: defaultdict[str, _Way] = defaultdict(_Way)

    @contextlib.asynccontextmanager
    async def lend(
        self, agent: AgentAddress, within_s: float = STALL_S, *, brief: bool = False
    ) -> AsyncIterator[Stream]:
        """A stream for one question and its whole answer; closed when that breaks off. Raises PeerUnreachable.

        Who finds none free waits: for `within_s`, and for as long as those that are lent get on. For `brief` questions
        there is one that pulls don't take.
        """
        way = self._ways[agent.name]
        stream = await self._in_turn(way, agent, within_s, brief)
        way.lent.add(stream)
        try:
            yield stream
        except BaseException:
            way.lose(stream)
            raise
        else:
            way.keep(stream)
        finally:
            way.pulling -= not brief

    def take_in(self, name: str, stream: Stream) -> None:
        """A stream that the agent of that name dialled, and answers on. Raises ConnectionRefusedError: too many."""
        way = self._ways[name]
        way.sweep()
        if way.count >= LIMIT_STREAMS:
            raise ConnectionRefusedError(f"{name} has {way.count} streams to here; expected at most {LIMIT_STREAMS}.")
        way.count += 1
        way.keep(stream)

    def is_near(self, agent: AgentAddress) -> bool:
        """Whether one stream to it brings as much as several; not before one was used."""
        return self._ways[agent.name].near

    @contextlib.contextmanager
    def share(self, agent: AgentAddress, most: int) -> Iterator[int]:
        """How many streams one pull may use at once: half of those that are left, since others come, and one at least.

        All ranks of an engine ask at the same time.
        """
        way = self._ways[agent.name]
        left = way.most_pulling(agent) - way.shared
        share = max(1, min(most, left // 2))
        way.shared += share
        try:
            yield share
        finally:
            way.shared -= share

    def sweep(self) -> None:
        """Close what its peer has closed, and forget agents that nothing leads to."""
        for name, way in list(self._ways.items()):
            way.sweep()
            if not way.count and not way.waiting:
                del self._ways[name]

    def close(self) -> None:
        for way in self._ways.values():
            while way.idle:
                way.lose(way.idle.pop())

    async def _in_turn(self, way: "_Way", agent: AgentAddress, within_s: float, brief: bool) -> Stream:
        while True:
            before = way.progress
            try:
                async with asyncio.timeout(within_s):
                    return await self._free(way, agent, brief)
            except TimeoutError as error:
                if way.progress == before:
                    raise PeerUnreachable(
                        f"No stream to {agent.name} was free within {within_s:g} s.",
                        hint="" if agent.dialled else "Nobody can dial it: is this agent among the peers it dials?",
                    ) from error

    async def _free(self, way: "_Way", agent: AgentAddress, brief: bool) -> Stream:
        way.waiting += 1
        try:
            while not brief and way.pulling >= way.most_pulling(agent):
                await way.change()
            way.pulling += not brief
            try:
                while (stream := way.taken()) is None:
                    if agent.dialled and way.count < LIMIT_STREAMS:
                        return await self._dialled(way, agent)
                    await way.change()
                return stream
            except BaseException:
                way.pulling -= not brief
                way.changed.set()
                raise
        finally:
            way.waiting -= 1

    async def _dialled(self, way: "_Way", agent: AgentAddress) -> Stream:
        if self._context is None:
            raise PeerUnreachable(f"{agent.name} can't be dialled: this relay was given no certificate.")
        way.count += 1
        try:
            return await dialled(agent, self._context)
        except BaseException:
            way.count -= 1
            way.changed.set()
            raise


@dataclass(slots=True)
class _Way:
    """What leads to one agent. `count` is of all its streams: idle, lent, or being dialled; `pulling` of those pulls.

    `shared` is the sum of the shares of pulls, `returned` counts streams that were lent.
    """

    idle: list[Stream] = field(default_factory=list)
    lent: set[Stream] = field(default_factory=set)
    count: int = 0
    returned: int = 0
    waiting: int = 0
    shared: int = 0
    pulling: int = 0
    near: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def taken(self) -> Stream | None:
        """An idle stream, the one used last; closes those that broke meanwhile."""
        while self.idle:
            stream = self.idle.pop()
            if stream.quiet:
                return stream
            self.lose(stream)
        return None

    def most_pulling(self, agent: AgentAddress) -> int:
        return max((LIMIT_STREAMS if agent.dialled else self.count) - 1, 1)

    async def change(self) -> None:
        """Wait until there may be a stream to be had."""
        self.changed.clear()
        await self.changed.wait()

    @property
    def progress(self) -> tuple[int, int]:
        """Another one whenever those that are lent have got on."""
        return self.returned, sum(stream.received_bytes for stream in self.lent)

    def keep(self, stream: Stream) -> None:
        self._back(stream)
        self.near = self.near or stream.round_trip_s < NEAR_S
        self.idle.append(stream)
        self.changed.set()

    def lose(self, stream: Stream) -> None:
        self._back(stream)
        stream.close()
        self.count -= 1
        self.changed.set()

    def _back(self, stream: Stream) -> None:
        if stream in self.lent:
            self.lent.remove(stream)
            self.returned += 1

    def sweep(self) -> None:
        idle, self.idle = self.idle, []
        for stream in idle:
            if stream.quiet:
                self.idle.append(stream)
            else:
                self.lose(stream)


async def dialled(agent: AgentAddress, context: ssl.SSLContext, hello: bytes = HELLO) -> Stream:
    """A new stream to an agent, whose certificate holds its name. Raises PeerUnreachable."""
    try:
        async with asyncio.timeout(DIAL_S):
            return await Stream.dial(agent.host, agent.port, context, agent.name, hello)
    except (OSError, ValueError) as error:
        raise PeerUnreachable(f"{agent.name} can't be reached: {error!r}.") from error
