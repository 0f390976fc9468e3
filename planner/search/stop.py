"""When a search ends: small criteria that are asked after every step."""

import time
from collections.abc import Callable
from typing import Protocol


class Stop(Protocol):
    """Asked with the best merit so far, once a step."""

    def __call__(self, best: float) -> bool: ...


class MaxSeconds:
    """After a time, counted from the first call."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.now = seconds, now
        self._began: float | None = None

    def __call__(self, best: float) -> bool:
        self._began = self.now() if self._began is None else self._began
        return self.now() - self._began >= self.seconds


class MaxSteps:
    """After so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, best: float) -> bool:
        self.left -= 1
        return self.left < 0


class Stalled:
    """After so many steps in a row that did not raise the best by more than a relative `least`."""

    def __init__(self, steps: int, least: float = 1e-6) -> None:
        self.steps, self.least = steps, least
        self._best: float | None = None
        self._idle = 0

    def __call__(self, best: float) -> bool:
        if self._best is None or best > self._best + self.least * abs(self._best):
            self._best, self._idle = best, 0
        else:
            self._idle += 1
        return self._idle >= self.steps


class ProvenGap:
    """Once the best is as near to a bound as asked. None proves nothing."""

    def __init__(self, bound: float | None, gap: float) -> None:
        self.bound, self.gap = bound, gap

    def __call__(self, best: float) -> bool:
        return self.bound is not None and best >= self.bound * (1 - self.gap)


class Told:
    """Once somebody else says so."""

    def __init__(self, is_set: Callable[[], bool]) -> None:
        self.is_set = is_set

    def __call__(self, best: float) -> bool:
        return self.is_set()


class AnyOf:
    """As soon as one of them says so."""

    def __init__(self, *criteria: Stop) -> None:
        self.criteria = criteria

    def __call__(self, best: float) -> bool:
        return any(criterion(best) for criterion in self.criteria)
