"""Speaks to every agent in every tick: so its engines are seen, and its dead-man's switch hears what it waits for."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from planner.errors import HostError, ThunderError
from provisioners.base import Machine
from provisioners.leases.journal import LeaseRow
from thunderctl.deploying.doors import let_operator_in
from thunderctl.logs.lines import in_a_line
from thunderctl.observing.observe import InstanceView, agent_of
from thunderctl.processes.agents import AgentClient, Agents
from thunderctl.world import World

ANSWER_S = 2.5
"""An agent that takes longer to say how it is counts as missed, this time."""
DOUBTED_S = 0.4
"""So long it may take once the router is known to have given up all that is on its machine: there and back over any
line, and no more, as every moment counts then."""
FIND_S = 20.0
"""To read over its transport where an agent listens; meanwhile ticks go on."""
FIRST_S = 2 * FIND_S
"""To find an agent for the first time, a knock included. Until then who was not reached yet was not missed either."""
KNOCK_EVERY_S = 60.0
"""How often a provider is asked to let this host in, while one of its machines can't be reached."""


@dataclass(slots=True)
class Contact:
    """Remembers where agents were reached. One that does not answer is looked for anew: it may listen elsewhere now.

    `views` is what was heard last, for who wants to show it; None before the first time.
    """

    world: World
    agents: Agents
    clock: Callable[[], float] = time.monotonic
    views: tuple[InstanceView, ...] | None = None
    _clients: dict[str, AgentClient] = field(default_factory=dict)
    _searches: dict[str, "asyncio.Task[AgentClient]"] = field(default_factory=dict)
    _knocked: dict[str, float] = field(default_factory=dict)
    _met: set[str] = field(default_factory=set)
    _since: dict[str, float] = field(default_factory=dict)
    _limits: dict[str, asyncio.Timeout] = field(default_factory=dict)

    async def hear(self, rows: Iterable[LeaseRow], machines: Mapping[str, Machine]) -> list[InstanceView]:
        """Every lease whose machine is there, and what its agent says now. `machines` are as last listed, by lease."""
        running = [row for row in rows if row.state.runs]
        self._forget({row.lease_id for row in running})
        self.views = tuple(await asyncio.gather(*(self._view(row, machines.get(row.lease_id)) for row in running)))
        return list(self.views)

    def doubt(self, leases: Iterable[str]) -> None:
        """Have `hear`, where it waits for the agents of these, not wait for long."""
        at = asyncio.get_running_loop().time() + DOUBTED_S
        for limit in (self._limits[one] for one in leases if one in self._limits):
            if not limit.expired() and (until := limit.when()) is not None and until > at:
                limit.reschedule(at)

    def close(self) -> None:
        """Give up the searches that are under way."""
        self._forget(set())

    async def _view(self, row: LeaseRow, machine: Machine | None) -> InstanceView:
        client = None
        try:
            client = self._clients.get(row.lease_id) or self._found(row, machine)
            if client is None:
                pending = self._is_pending(row.lease_id)
                return InstanceView(row, machine, problem="its agent was not reached yet", pending=pending)
            async with asyncio.timeout(ANSWER_S) as self._limits[row.lease_id]:
                health = await client.health()
        except TimeoutError:
            return self._missed(row, machine, client, f"its agent did not answer within {ANSWER_S} s")
        except ThunderError as error:
            return self._missed(row, machine, client, error.message)
        finally:
            self._limits.pop(row.lease_id, None)
        self._clients[row.lease_id] = client
        self._met.add(row.lease_id)
        return InstanceView(row, machine, client, health)

    def _is_pending(self, lease: str) -> bool:
        """Whether it was neither heard nor missed so far, and is not being looked for any longer than that may take."""
        since = self._since.setdefault(lease, self.clock())
        return lease not in self._met and self.clock() - since < FIRST_S

    def _missed(self, row: LeaseRow, machine: Machine | None, client: AgentClient | None, problem: str) -> InstanceView:
        self._met.add(row.lease_id)
        self._clients.pop(row.lease_id, None)
        return InstanceView(row, machine, client, problem=in_a_line(problem).rstrip("."))

    def _found(self, row: LeaseRow, machine: Machine | None) -> AgentClient | None:
        """The client, once a search has found where it listens. Raises what the search did."""
        search = self._searches.get(row.lease_id)
        if search is None and machine is not None:
            self._searches[row.lease_id] = asyncio.ensure_future(self._find(row, machine))
            self._searches[row.lease_id].add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if search is None or not search.done():
            return None
        del self._searches[row.lease_id]
        return search.result()

    async def _find(self, row: LeaseRow, machine: Machine) -> AgentClient:
        try:
            await self._knock(row.provider)
            async with asyncio.timeout(FIND_S):
                return await agent_of(self.world, self.agents, row, machine)
        except TimeoutError as error:
            raise HostError(f"Where the agent listens could not be read within {FIND_S:.0f} s.") from error

    async def _knock(self, provider: str) -> None:
        """Before a machine is looked for: this host may have another address by now, which nobody lets in yet."""
        now = self.clock()
        if now - self._knocked.get(provider, -KNOCK_EVERY_S) >= KNOCK_EVERY_S:
            self._knocked[provider] = now
            with suppress(TimeoutError):
                async with asyncio.timeout(FIND_S):
                    await let_operator_in(self.world, [provider])

    def _forget(self, but: set[str]) -> None:
        self._clients = {lease: client for lease, client in self._clients.items() if lease in but}
        self._met &= but
        self._since = {lease: since for lease, since in self._since.items() if lease in but}
        for lease in self._searches.keys() - but:
            self._searches.pop(lease).cancel()
