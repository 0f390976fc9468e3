"""How passes follow each other through the stages of a pipeline.

A pass comes out `pp` intervals after it began, and at most `pp` are under way. So no pass overtakes a longer one, and
an interval is as long as the longest of the `pp` passes under way needs in a stage.
"""

from collections import deque


class Pipeline:
    """The passes under way but the newest, as seconds that each needs in a stage."""

    __slots__ = ("before", "pp")

    def __init__(self, pp: int) -> None:
        self.pp = pp
        self.before: deque[float] = deque(maxlen=pp - 1)

    def enter(self, passes: int, own_s: float) -> tuple[int, float]:
        """Passes that need `own_s` in every stage: (how many go at one pace, the interval)."""
        if self.pp == 1:
            return passes, own_s
        interval_s = max(own_s, *self.before) if self.before else own_s
        if interval_s > own_s:
            passes = 1
        self.before.extend([own_s] * min(passes, self.pp - 1))
        return passes, interval_s

    def drain(self) -> None:
        """The last pass has come out."""
        self.before.clear()
