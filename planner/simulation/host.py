"""A machine whose cores several engines share: together the busy ones get no more than all of them."""

from typing import Protocol


class Sharing(Protocol):
    """An engine on a shared machine, which takes `host_share` of it while it is busy."""

    host_share: float

    def replan(self, now: float) -> None:
        """From its next pass on it is faster or slower."""


class Host:
    """The engines of one machine. Those that come or go while a pass is under way change the next one."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy: dict[Sharing, None] = {}

    def begin(self, engine: Sharing, now: float) -> None:
        """It has something to do."""
        if engine not in self.busy:
            self._tell(now)
            self.busy[engine] = None

    def end(self, engine: Sharing, now: float) -> None:
        """It has nothing to do any more."""
        if engine in self.busy:
            del self.busy[engine]
            self._tell(now)

    @property
    def stretch(self) -> float:
        """How many times as long a pass takes as with the machine for itself."""
        return max(1.0, sum(engine.host_share for engine in self.busy))

    def _tell(self, now: float) -> None:
        for engine in self.busy:
            engine.replan(now)
