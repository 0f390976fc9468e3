"""What `thunderctl leases --report` was asked for, and its answer: as JSON, as CSV, and for tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Self

from planner.errors import SpecError
from thunderctl.cli.events import moment
from thunderctl.money.spending import Spending
from thunderctl.money.spent.by import By
from thunderctl.money.spent.hours import zone
from thunderctl.money.spent.lines import parts_as_csv, sums_as_csv
from thunderctl.money.spent.parts import Part, Sum, added_up, parts_of, stints_of
from thunderctl.store.store import Store

USUAL: tuple[tuple[By, ...], ...] = ((By.DAY,), (By.LEASE,), (By.MODEL,))


@dataclass(frozen=True, slots=True)
class Asked:
    """What to add up by (empty: by day, by lease, by model), of which time. None: from the start, until now."""

    by: tuple[By, ...]
    since: float | None
    until: float | None
    tz: tzinfo

    @classmethod
    def read(cls, by: Sequence[By], since: str | None, until: str | None, tz: str, now: float) -> Self:
        """The options as they were typed. Raises SpecError."""
        place = zone(tz)
        begin = None if since is None else moment(since, now, tz=place)
        end = None if until is None else moment(until, now, tz=place, option="--until")
        if begin is not None and end is not None and begin >= end:
            raise SpecError(f"--since {since} is not before --until {until}; expected an earlier time.")
        return cls(tuple(dict.fromkeys(by)), begin, end, place)

    @property
    def narrows(self) -> bool:
        """Whether more was asked than a list of leases, in options that only a report has."""
        return bool(self.by) or self.since is not None or self.until is not None


@dataclass(frozen=True, slots=True)
class SpendReport:
    """What was asked, and the parts that it is added up from."""

    asked: Asked
    spending: Spending
    parts: tuple[Part, ...]

    @property
    def whole(self) -> Sum:
        return next(iter(added_up(self.parts, ()).values()), Sum())

    @property
    def tables(self) -> Mapping[tuple[By, ...], Mapping[tuple[str, ...], Sum]]:
        """The sums by each thing, or things together, that is shown."""
        shown = (self.asked.by,) if self.asked.by else USUAL
        return {by: added_up(self.parts, by, self.asked.tz) for by in shown}

    def as_csv(self) -> str:
        """The sums that were asked for, else every part."""
        if not self.asked.by:
            return parts_as_csv(self.parts, self.spending.rows, self.asked.tz)
        return sums_as_csv(self.tables[self.asked.by], self.asked.by)

    def document(self) -> dict[str, Any]:
        """The `report` of `thunder.leases/v1`."""
        return {
            "tz": str(self.asked.tz),
            "since": self._rfc3339(self.asked.since),
            "until": self._rfc3339(self.asked.until),
            **_amounts(self.whole),
            "tables": [
                {
                    "by": list(by),
                    "sums": [{**dict(zip(by, key, strict=True)), **_amounts(one)} for key, one in sums.items()],
                }
                for by, sums in self.tables.items()
            ],
        }

    def _rfc3339(self, at: float | None) -> str | None:
        return None if at is None else datetime.fromtimestamp(at, self.asked.tz).isoformat(timespec="seconds")


def report_of(store: Store, deployment: str, spending: Spending, asked: Asked) -> SpendReport:
    since = float("-inf") if asked.since is None else asked.since
    until = float("inf") if asked.until is None else asked.until
    served = stints_of(store, deployment, spending)
    return SpendReport(asked, spending, parts_of(spending, served, tz=asked.tz, since=since, until=until))


def _amounts(one: Sum) -> dict[str, float]:
    amounts = {
        "usd": one.usd,
        "machines_usd": one.machines_usd,
        "transfer_usd": one.transfer_usd,
        "hours": one.hours,
        "gb": one.gb,
        "unpriced_gb": one.unpriced_gb,
    }
    return {name: round(float(amount), 6) for name, amount in amounts.items()}
