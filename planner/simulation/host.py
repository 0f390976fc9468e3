"""A machine whose cores several processes share, each of which does one thing at a time: processor sharing, twice.

A process with something to do asks for a share of the machine. Once together they ask for more than all of it, each
goes the slower by as much. What is under way in one process at once, in threads of one interpreter, goes in equal
parts: while a prompt is packed to be handed over, the next pass of its engine takes twice as long, and so does the
packing. Whatever is under way when somebody comes or goes is slower or faster from then on.

A process that wakes up on a full machine waits for a core first, so that what goes from process to process, as requests
and hand-overs do, is late even where it is little work.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from planner.simulation.agenda import Agenda

SLICE_S = 1.4e-3
"""How long a process has a core before another may: Linux's 0.7 ms x (1 + log2 of the cores), of two or three cores."""


class Sharing(Protocol):
    """Something under way on a shared machine, whose `process` takes `host_share` of it where there is room."""

    host_share: float

    @property
    def process(self) -> Hashable: ...

    def slow(self, now: float, times: float) -> None:
        """What is left of it takes so many times as long as it seemed until now."""


class Host:
    """What is under way on one machine, and how many times as long it takes as alone."""

    __slots__ = ("busy", "crowds", "stretch")

    def __init__(self) -> None:
        self.busy: dict[Sharing, float] = {}
        self.crowds: Counter[Hashable] = Counter()
        self.stretch = 1.0

    def begin(self, who: Sharing, now: float, share: float) -> float:
        """It asks for this share from now on. How many times as long as alone it takes."""
        if who in self.busy and who.host_share == share:
            return self.busy[who]
        self.crowds[who.process] += who not in self.busy
        self.busy[who], who.host_share = 1.0, share
        self._settle(now, who)
        return self.busy[who]

    def end(self, who: Sharing, now: float) -> None:
        """It has nothing to do any more."""
        if self.busy.pop(who, None) is not None:
            self.crowds[who.process] -= 1
            self._settle(now, who)

    @property
    def waking_s(self) -> float:
        """How long a process that wakes up now waits for a core: a slice of each that shares it."""
        return SLICE_S * self.stretch if self.stretch > 1 else 0.0

    def _settle(self, now: float, changed: Sharing) -> None:
        """Tell all others how much slower or faster they have become."""
        crowds = self.crowds
        asked = sum(one.host_share / crowds[one.process] for one in self.busy)
        self.stretch = max(1.0, asked)
        for one, before in self.busy.items():
            self.busy[one] = after = self.stretch * crowds[one.process]
            if after != before and one is not changed:
                one.slow(now, after / before)


class Work:
    """Something that is done once and takes `own_s` alone; then `done` is called with `subject`."""

    __slots__ = ("agenda", "done", "end_s", "host", "host_share", "process", "subject", "version")

    def __init__(self, host: Host, process: Hashable, agenda: Agenda, done: Callable[[float, Any], None]) -> None:
        self.host, self.process, self.agenda, self.done = host, process, agenda, done
        self.host_share = self.end_s = 0.0
        self.version = 0

    def start(self, now: float, own_s: float, share: float, subject: Any) -> None:
        self.subject = subject
        self._end_at(now + own_s * self.host.begin(self, now, share))

    def slow(self, now: float, times: float) -> None:
        """What is left of it takes so many times as long as it seemed until now."""
        self._end_at(now + (self.end_s - now) * times)

    def _end_at(self, when: float) -> None:
        self.end_s, self.version = when, self.version + 1
        self.agenda.at(when, self._end, self.version)

    def _end(self, now: float, version: int) -> None:
        if version == self.version:
            self.host.end(self, now)
            self.done(now, self.subject)
