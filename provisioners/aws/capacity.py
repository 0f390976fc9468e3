"""What AWS had none of a moment ago: not asked for again until some time has passed."""

import time
from collections.abc import Callable

from provisioners.aws.offer_ids import OfferId

REMEMBERED_S = 180.0
"""As long as Karpenter does: capacity comes back, but not at once."""


class Scarcity:
    """Offers that were refused for want of capacity, by (type, zone, market)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, remembered_s: float = REMEMBERED_S) -> None:
        self._clock = clock
        self._remembered_s = remembered_s
        self._until: dict[OfferId, float] = {}

    def note(self, offer: OfferId) -> None:
        self._until[offer] = self._clock() + self._remembered_s

    def left_s(self, offer: OfferId) -> float:
        """How long it counts as not to be had; 0 where it may be asked for."""
        return max(0.0, self._until.get(offer, 0.0) - self._clock())
