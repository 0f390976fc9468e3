"""A machine whose cores several engines share: together the busy ones get no more than all of them."""

from typing import Protocol


class Sharing(Protocol):
    """Somebody on a shared machine, who takes `host_share` of it while busy."""

    host_share: float

    def replan(self, now: float) -> None:
        """From its next pass on it is faster or slower."""


class Work:
    """Something that is done once, in a time that was settled when it began: the hand-over of a prompt."""

    __slots__ = ("host_share",)

    def __init__(self, host_share: float) -> None:
        self.host_share = host_share

    def replan(self, now: float) -> None:
        """It goes on as it is."""


class Host:
    """Who is busy on one machine. Those that come or go while a pass is under way change the next one."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy: dict[Sharing, None] = {}

    def begin(self, who: Sharing, now: float) -> None:
        """They have something to do."""
        if who not in self.busy:
            self._tell(now)
            self.busy[who] = None

    def end(self, who: Sharing, now: float) -> None:
        """They have nothing to do any more."""
        if who in self.busy:
            del self.busy[who]
            self._tell(now)

    def over(self, now: float, work: Sharing) -> None:
        """As `end`, on an agenda."""
        self.end(work, now)

    @property
    def stretch(self) -> float:
        """How many times as long a pass takes as with the machine for itself."""
        return max(1.0, sum(one.host_share for one in self.busy))

    def _tell(self, now: float) -> None:
        for one in self.busy:
            one.replan(now)
