"""The load of the last hours, a figure a minute: how busy it was at most, and since when that is known."""

from dataclasses import dataclass

BUCKET_S = 60.0
KEPT_S = 6 * 3600.0
GAP_S = 300.0
"""Where nothing was seen for longer, what was before says nothing about the time between."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """(minute's beginning, the most requests/s seen in it), oldest first, and when looking began."""

    since: float | None = None
    seen: tuple[tuple[float, float], ...] = ()

    def noted(self, at: float, load_rps: float) -> "Peaks":
        """With what is seen now. A clock that was set back begins anew."""
        minute = at // BUCKET_S * BUCKET_S
        if not self.seen or self.since is None or not 0 <= minute - self.seen[-1][0] <= GAP_S:
            return Peaks(at, ((minute, load_rps),))
        last_at, last_rps = self.seen[-1]
        if minute == last_at:
            return self if load_rps <= last_rps else Peaks(self.since, (*self.seen[:-1], (minute, load_rps)))
        kept = tuple(one for one in self.seen if one[0] >= at - KEPT_S)
        return Peaks(self.since, (*kept, (minute, load_rps)))

    def over(self, at: float, window_s: float) -> float | None:
        """The most in the last `window_s`; None where that was not watched all the time."""
        if self.since is None or self.since > at - window_s or at - self.seen[-1][0] > GAP_S:
            return None
        return max(load for minute, load in self.seen if minute >= at - window_s - BUCKET_S)
