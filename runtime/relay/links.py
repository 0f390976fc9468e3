"""What the ways from other agents to this one carry, and how long they take: from transfers, and on idle from probes.

Bandwidth is what arrived while anything was arriving, all streams from an agent together, and not while a prompt was
still being computed: that is a lower bound of the line where the sender or this host is what was slow. Latency is a
round trip: a question of nothing, on an idle way.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runtime.messages import LinkHealth
from runtime.relay.ticket import AgentAddress

LIMIT_LINKS = 256
"""Agents remembered: those heard from last."""

SAMPLES = 9
LEAST_BYTES = 1 << 20
"""Less than this says more about latency than about bandwidth."""

PROBE_AFTER_S = 300.0
"""How long a way must have been idle. A probe's megabyte so often makes 0.3 GB a day, which clouds may bill."""

FORGET_AFTER_S = 3600.0
"""Nothing was pulled for so long: this way is not used now, and not probed."""

GIGABIT = 1e9 / 8


@dataclass(slots=True)
class _Link:
    """Seconds by the meter's clock. On `arriving` of the `streams` under way something comes, since `began_at`.

    `bytes` have come on them, in `busy_s` before that; `all_bytes` ever since `first_at`.
    """

    used_at: float
    heard_at: float
    first_at: float
    all_bytes: int = 0
    probed: bool = False
    streams: int = 0
    arriving: int = 0
    began_at: float = 0.0
    busy_s: float = 0.0
    bytes: int = 0
    gbit_per_s: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    latency_s: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def go_on(self, now: float) -> None:
        if not self.arriving:
            self.began_at = now
        self.arriving += 1

    def pause(self, now: float) -> None:
        self.arriving -= 1
        if not self.arriving:
            self.busy_s += now - self.began_at


class LinkMeter:
    """One per agent, for every agent it pulls from."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._links: dict[AgentAddress, _Link] = {}

    @contextmanager
    def arriving(self, agent: AgentAddress, size: int, *, probe: bool = False) -> Iterator[None]:
        """While `size` bytes arrive; what fails is not counted."""
        link = self._link(agent)
        if not link.streams:
            link.busy_s, link.bytes = 0.0, 0
        link.streams += 1
        link.go_on(self._now())
        try:
            yield
            link.bytes += size
            link.all_bytes += size
        finally:
            link.streams -= 1
            link.heard_at = self._now()
            link.used_at = link.used_at if probe else link.heard_at
            link.pause(link.heard_at)
            if not link.streams and link.bytes >= LEAST_BYTES and link.busy_s > 0:
                link.gbit_per_s.append(link.bytes / GIGABIT / link.busy_s)

    @contextmanager
    def waiting(self, agent: AgentAddress) -> Iterator[None]:
        """Within `arriving`: while it may have nothing to send."""
        link = self._link(agent)
        link.pause(self._now())
        try:
            yield
        finally:
            link.go_on(self._now())

    @contextmanager
    def round_trip(self, agent: AgentAddress) -> Iterator[None]:
        link, started = self._link(agent), self._now()
        link.probed = True
        yield
        link.latency_s.append(self._now() - started)

    def due(self) -> list[AgentAddress]:
        """The agents to probe now: idle, used within the hour, and not heard from for minutes or never probed."""
        now = self._now()
        return [
            agent
            for agent, link in self._links.items()
            if not link.streams
            and now - link.used_at < FORGET_AFTER_S
            and (not link.probed or now - link.heard_at >= PROBE_AFTER_S)
        ]

    @property
    def health(self) -> tuple[LinkHealth, ...]:
        """By the agents' names: the median bandwidth, the shortest round trip halved, and all that came."""
        return tuple(
            LinkHealth(
                peer=agent.name,
                bandwidth_gbit_per_s=statistics.median(link.gbit_per_s) if link.gbit_per_s else None,
                latency_ms=min(link.latency_s) / 2 * 1e3 if link.latency_s else None,
                age_s=self._now() - link.heard_at,
                bytes=link.all_bytes,
                counter=link.first_at,
            )
            for agent, link in sorted(self._links.items(), key=lambda item: item[0].name)
        )

    def _link(self, agent: AgentAddress) -> _Link:
        if agent not in self._links:
            if len(self._links) >= LIMIT_LINKS:
                idle = [known for known, link in self._links.items() if not link.streams]
                for known in sorted(idle, key=lambda known: self._links[known].heard_at)[:1]:
                    del self._links[known]
            now = self._now()
            self._links[agent] = _Link(used_at=now, heard_at=now, first_at=now)
        return self._links[agent]
