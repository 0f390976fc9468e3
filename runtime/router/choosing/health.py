"""Which replicas are up, as the router sees it: out at the first failure, back when a probe succeeds."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

FIRST_EJECTION_S = 5.0
LONGEST_EJECTION_S = 60.0
PROBATION_S = 60.0
"""A replica that fails again so soon after it came back has not mended: an engine that hangs may answer probes."""


@dataclass(slots=True)
class _Ejection:
    """`over_at`: when a probe ended it. `relapsed`: it had come back shortly before, by its probes' word."""

    seconds: float
    until: float
    reason: str
    relapsed: bool
    over_at: float = 0.0


class ReplicaHealth:
    """The ejected replicas. An ejection lasts 5 s, doubled each time the probe after it fails, or it does soon after.

    When its time is over the replica is half open: the next probe, not a client's request, decides. So it is sooner
    where requests wait for it (`waited_for`), as there is nobody who does better, unless it has relapsed. `listeners`
    hear whenever one may be up that was not.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ejected: dict[str, _Ejection] = {}
        self._ended: dict[str, _Ejection] = {}
        self.listeners: list[Callable[[], None]] = []

    def is_up(self, replica: str) -> bool:
        return replica not in self._ejected

    def reason(self, replica: str) -> str:
        """Why it is out; empty when it is up."""
        ejection = self._ejected.get(replica)
        return ejection.reason if ejection else ""

    def failed(self, replica: str, reason: str) -> None:
        """It could not be reached, or its engine is dead."""
        before = self._ejected.get(replica)
        if before and self._now() < before.until:
            return
        ended = None if before else self._on_probation(replica)
        relapsed = before.relapsed if before else ended is not None
        last = before or ended
        seconds = min(last.seconds * 2, LONGEST_EJECTION_S) if last else FIRST_EJECTION_S
        self._ejected[replica] = _Ejection(seconds, self._now() + seconds, reason, relapsed)

    def answered(self, replica: str, *, waited_for: bool = False) -> None:
        """A probe succeeded. Before it is `due` an ejected replica stays out."""
        ejection = self._ejected.get(replica)
        if ejection and self.due(replica, waited_for=waited_for):
            ejection.over_at = self._now()
            self._ended[replica] = self._ejected.pop(replica)
            self._tell()

    def came_back(self, replica: str, since: float) -> bool:
        """Whether a probe has ended an ejection of it since then (s, by this clock)."""
        ended = self._ended.get(replica)
        return ended is not None and ended.over_at > since

    def keep(self, replicas: Iterable[str]) -> None:
        """Forget all but these, which are still served from where they were."""
        kept, ejected = set(replicas), len(self._ejected)
        self._ejected = {replica: ejection for replica, ejection in self._ejected.items() if replica in kept}
        self._ended = {replica: ejection for replica, ejection in self._ended.items() if replica in kept}
        if len(self._ejected) < ejected:
            self._tell()

    def due(self, replica: str, *, waited_for: bool = False) -> bool:
        """Whether a probe may decide now."""
        ejection = self._ejected.get(replica)
        return ejection is None or self._now() >= ejection.until or (waited_for and not ejection.relapsed)

    def _tell(self) -> None:
        for told in self.listeners:
            told()

    def _on_probation(self, replica: str) -> _Ejection | None:
        ended = self._ended.pop(replica, None)
        return ended if ended and self._now() < ended.over_at + PROBATION_S else None
