"""Reverse dial: streams that this agent dials so that others can ask it, for an agent behind NAT or a firewall.

Who dials has nothing to do with where tiles go: on such a stream the dialler answers, as if it had been dialled.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from planner.errors import SpecError
from runtime.relay.exchange import PeerUnreachable
from runtime.relay.stream import HELLO_REVERSED, Stream
from runtime.relay.streams import dialled
from runtime.relay.ticket import AgentAddress

log = logging.getLogger(__name__)

STREAMS_EACH = 9
"""Kept open to each peer: two large pulls of four stripes, and what is said of tickets meanwhile."""

LIMIT_PEERS = 256
LEAST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


class ReverseDial:
    """Keeps streams open to the peers that it was told last. `answer` serves one of them until its end."""

    def __init__(
        self,
        context: ssl.SSLContext,
        answer: Callable[[Stream], Awaitable[None]],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._context = context
        self._answer = answer
        self._pause = pause
        self._peers: frozenset[AgentAddress] = frozenset()
        self._tasks: defaultdict[AgentAddress, set[asyncio.Task[None]]] = defaultdict(set)

    def keep(self, peers: Iterable[AgentAddress]) -> None:
        """To these from now on. A stream to one that is left out ends when it is asked no more. Raises SpecError."""
        peers = frozenset(peers)
        if mute := sorted(peer.name for peer in peers if not peer.dialled):
            raise SpecError(f"{', '.join(mute)} can't be dialled; expected peers with a port.")
        if len(peers) > LIMIT_PEERS:
            raise SpecError(f"{len(peers)} peers are to be dialled; expected at most {LIMIT_PEERS}.")
        self._peers = peers
        for gone in [peer for peer, tasks in self._tasks.items() if not tasks]:
            del self._tasks[gone]
        for peer in peers:
            tasks = self._tasks[peer]
            for _ in range(STREAMS_EACH - len(tasks)):
                task = asyncio.create_task(self._keep_one(peer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def close(self) -> None:
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_one(self, peer: AgentAddress) -> None:
        """One stream at a time; pauses double while none lasts, and are jittered so that agents do not come at once."""
        clock, pause_s = asyncio.get_running_loop().time, LEAST_PAUSE_S
        while peer in self._peers:
            began_s = clock()
            try:
                await self._serve_one(peer)
            except PeerUnreachable as error:
                if pause_s == LEAST_PAUSE_S:  # Said once, until a stream has lasted again.
                    log.info("%s It is dialled again until it answers.", error.message)
            lasted = clock() - began_s > LONGEST_PAUSE_S
            pause_s = LEAST_PAUSE_S if lasted else min(2 * pause_s, LONGEST_PAUSE_S)
            await self._pause(pause_s * random.uniform(0.5, 1.0))

    async def _serve_one(self, peer: AgentAddress) -> None:
        stream = await dialled(peer, self._context, HELLO_REVERSED)
        with contextlib.closing(stream), contextlib.suppress(OSError, ValueError):
            await self._answer(stream)  # Until it breaks, stalls, or nothing was asked for minutes.
