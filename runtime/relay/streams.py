"""Streams to other agents, kept open between pulls and lent to one at a time."""

import asyncio
import contextlib
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator

from runtime.relay.exchange import PeerUnreachable
from runtime.relay.stream import Stream
from runtime.relay.tickets import AgentAddress

LIMIT_STREAMS = 16
"""To one agent."""

DIAL_S = 5.0


class Streams:
    """By the agent they lead to."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._idle: dict[AgentAddress, list[Stream]] = defaultdict(list)
        self._room: dict[AgentAddress, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(LIMIT_STREAMS))

    @contextlib.asynccontextmanager
    async def lend(self, agent: AgentAddress) -> AsyncIterator[Stream]:
        """A stream for one question and its whole answer; closed when that breaks off. Raises PeerUnreachable."""
        async with self._room[agent]:
            stream = self._kept(agent) or await self._dialled(agent)
            try:
                yield stream
            except BaseException:
                stream.close()
                raise
            self._idle[agent].append(stream)

    def sweep(self) -> None:
        """Close what its peer has closed, and forget agents that nothing leads to."""
        for agent in list(self._idle):
            quiet = [stream for stream in self._idle[agent] if stream.quiet]
            for stream in set(self._idle[agent]) - set(quiet):
                stream.close()
            self._idle[agent] = quiet
            if not quiet:
                del self._idle[agent]

    def close(self) -> None:
        for streams in self._idle.values():
            for stream in streams:
                stream.close()
        self._idle.clear()

    def _kept(self, agent: AgentAddress) -> Stream | None:
        while self._idle[agent]:
            stream = self._idle[agent].pop()
            if stream.quiet:
                return stream
            stream.close()
        return None

    async def _dialled(self, agent: AgentAddress) -> Stream:
        if self._context is None:
            raise PeerUnreachable(f"{agent.name} can't be dialled: this relay was given no certificate.")
        try:
            async with asyncio.timeout(DIAL_S):
                return await Stream.dial(agent.host, agent.port, self._context, agent.name)
        except (OSError, ValueError) as error:
            raise PeerUnreachable(f"{agent.name} can't be reached: {error!r}.") from error
