"""One deployment's spending, read again and again: leases that are over are read once."""

import time
from dataclasses import dataclass, field

from thunderctl.money.spending import Spending, spending_from
from thunderctl.observing.known_leases import KnownLeases
from thunderctl.store.store import Store


@dataclass(slots=True)
class Accounts:
    """Asked by one thread at a time."""

    deployment: str
    leases: KnownLeases = field(init=False)

    def __post_init__(self) -> None:
        self.leases = KnownLeases(self.deployment)

    def read(self, store: Store, now: float | None = None) -> Spending:
        """As `spending_of` does."""
        at = time.time() if now is None else now
        return spending_from(store, self.deployment, self.leases.read(store, at).rows, at)
