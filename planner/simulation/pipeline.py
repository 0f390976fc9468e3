"""How passes follow each other through the stages of a pipeline.

A pass comes out `pp` intervals after it began, and at most `pp` are under way. So no pass overtakes a longer one, and
an interval is as long as the longest of the `pp` passes under way needs in a stage.
"""

from collections import deque


class Pipeline:
    """`before` are the passes under way but the newest, and `own_s` the planned ones, as seconds needed in a stage.

    `longest_s` is the longest of those before.
    """

    __slots__ = ("before", "longest_s", "own_s", "pp")

    def __init__(self, pp: int) -> None:
        self.pp = pp
        self.own_s = 0.0
        self.before: deque[float] = deque(maxlen=pp - 1)
        self.drain()

    def plan(self, passes: int, own_s: float) -> tuple[int, float]:
        """Passes that need `own_s` in every stage: (how many can go at one pace, the interval)."""
        if self.pp == 1:
            return passes, own_s
        self.own_s = own_s
        if own_s >= self.longest_s:
            return passes, own_s
        return min(passes, self._passes_behind()), self.longest_s

    def go(self, passes: int) -> None:
        """So many of the planned passes went, which may be fewer."""
        if self.pp > 1:
            self.before.extend([self.own_s] * min(passes, self.pp - 1))
            self.longest_s = max(self.before)

    def drain(self) -> None:
        """The last pass has come out: those under way take no time."""
        self.before.extend([0.0] * (self.pp - 1))
        self.longest_s = 0.0

    def _passes_behind(self) -> int:
        """How many go on at the pace of the longest, until the newest that is as long comes out."""
        behind = self.pp - 1
        while self.before[behind - 1] != self.longest_s:
            behind -= 1
        return behind
