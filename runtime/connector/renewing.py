"""Tickets of requests that wait in this engine's queue, which would expire at their agents if these heard nothing."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from runtime.relay.ticket import TICKET_TTL_S, AgentAddress, Ticket

LIMIT_TICKETS = 200
"""In one message, which is bounded (`relay/greeting.py`)."""


class Renewing:
    """Tells the agents of tickets, three times in a ticket's life, that these are still wanted: one message each.

    `tell` says a thing to our own agent, by name and fields.
    """

    def __init__(
        self,
        tell: Callable[[str, Mapping[str, Any]], object],
        now: Callable[[], float],
        every_s: float = TICKET_TTL_S / 3,
    ) -> None:
        self._tell = tell
        self._now = now
        self._every_s = every_s
        self._due_at = now() + every_s

    def renew(self, tickets: Iterable[Ticket]) -> None:
        """These are waited for; asked as often as one likes."""
        now = self._now()
        if now < self._due_at:
            return
        self._due_at = now + self._every_s
        held: dict[AgentAddress, list[tuple[str, str]]] = defaultdict(list)
        for ticket in tickets:
            held[ticket.agent].append((ticket.ticket, ticket.capability))
        for agent, names in held.items():
            for first in range(0, len(names), LIMIT_TICKETS):
                self._tell("renew", {"agent": asdict(agent), "tickets": names[first : first + LIMIT_TICKETS]})
