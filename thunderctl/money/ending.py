"""When a deployment ends by itself, if nobody changes anything: by its leases' time, or when its money is spent."""

from dataclasses import dataclass
from typing import Any

from thunderctl.money.spending import Spending


@dataclass(frozen=True, slots=True)
class Ending:
    """Times are seconds since the epoch, None where nothing ends. `counted_usd` is what `max_total_usd` is held to."""

    max_total_usd: float
    counted_usd: float
    leases_end_at: float | None
    money_ends_at: float | None

    @property
    def at(self) -> float | None:
        """Whichever comes first."""
        return min((at for at in (self.leases_end_at, self.money_ends_at) if at is not None), default=None)

    def entry(self, now: float) -> dict[str, Any]:
        """The `ending` of the status document."""
        return {
            "max_total_usd": self.max_total_usd,
            "counted_usd": round(self.counted_usd, 6),
            "leases_end_at": self.leases_end_at,
            "money_ends_at": self.money_ends_at,
            "at": self.at,
            "left_s": None if self.at is None else max(0.0, round(self.at - now, 3)),
        }


def ending_of(spending: Spending, max_total_usd: float) -> Ending:
    """By the leases that run, the first of which ends it, and by what machines and transfers cost an hour now."""
    life = spending.life
    ends = [row.expires_at for row in life.rows if row.state.runs and row.expires_at is not None]
    usd_per_hour = float(life.machines_usd_per_hour + life.transfer_usd_per_hour)
    counted_usd = float(life.spend.usd)
    left_s = max(0.0, max_total_usd - counted_usd) / usd_per_hour * 3600 if usd_per_hour > 0 else None
    return Ending(
        max_total_usd=max_total_usd,
        counted_usd=counted_usd,
        leases_end_at=min(ends, default=None),
        money_ends_at=None if left_s is None else spending.now + left_s,
    )
