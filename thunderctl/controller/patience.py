"""How long an instance waits for its next machine, where one after the other failed soon after it was leased. Pure.

It rests on the leases alone: neither a controller that is new nor a listing that could not be trusted for a while makes
it forget, and so lease and release in a loop what never comes to serve.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import TERMINATED, UNLISTED
from provisioners.leases.release import BY_GC, NOT_PLANNED
from thunderctl.controller.decide import TAKEN_DOWN
from thunderctl.words import clock

WELL_S = 3600.0
"""A machine that was there for so long beyond its time to get ready was of use: its end says nothing of the next."""
REMEMBERED_S = 6 * 3600.0
"""By then whatever made them fail may have been mended."""
FIRST_S, LONGEST_S = 120.0, 3600.0
"""The pause after the second failure in a row, and the longest. After the first there is none: anything fails once."""
TAKEN_BACK = (UNLISTED, TERMINATED)
"""Its provider ended it. One that was not ready by its deadline would have been ended by us, with another reason: so
what was taken back later than that was of use."""
AT_REST = "it rests: "
"""How the reason begins of a lease whose machine was of use, and went to rest."""


@dataclass(frozen=True, slots=True)
class Wait:
    """An instance that is not leased again before `until` (seconds since the epoch); why its last machine ended."""

    instance: str
    failures: int
    until: float
    reason: str

    @property
    def text(self) -> str:
        return (
            f"{self.instance} failed {self.failures} times in a row ({self.reason.rstrip('.') or 'nobody said why'}): "
            f"it is leased again at {clock(self.until)} UTC, or by `thunderctl up` as soon as that is mended."
        )


def waits(
    rows: Collection[LeaseRow], instances: Iterable[str], now: float, *, ready_deadline_s: float
) -> tuple[Wait, ...]:
    """Those of the instances that wait. `rows` are all of the deployment's, oldest first."""
    found = (_wait(rows, one, now, ready_deadline_s) for one in instances)
    return tuple(one for one in found if one is not None and one.until > now)


def _wait(rows: Collection[LeaseRow], instance: str, now: float, deadline_s: float) -> Wait | None:
    failed = list(_failed(rows, instance, now, deadline_s))
    if len(failed) < 2:
        return None
    last = failed[0]
    pause_s = min(FIRST_S * 2.0 ** (len(failed) - 2), LONGEST_S)
    ended_at = min(_ended_at(last), now)  # by a clock that was ahead, perhaps
    return Wait(instance, len(failed), ended_at + pause_s, last.reason)


def _failed(rows: Collection[LeaseRow], instance: str, now: float, deadline_s: float) -> Iterator[LeaseRow]:
    """Its last machines that ended soon, the latest first, up to one that was of use. What was refused cost nothing."""
    for row in reversed([one for one in rows if one.instance == instance and one.state is LeaseState.GONE]):
        began_at = row.created_at if row.sent_at is None else row.sent_at
        lasted = _ended_at(row) - began_at >= deadline_s + WELL_S * (not row.reason.startswith(TAKEN_BACK))
        if lasted or now - _ended_at(row) > REMEMBERED_S or _on_purpose(row.reason):
            return
        yield row


def _on_purpose(reason: str) -> bool:
    return reason.startswith(AT_REST) or reason.split(";")[0] in (TAKEN_DOWN, NOT_PLANNED, BY_GC)


def _ended_at(row: LeaseRow) -> float:
    return row.created_at if row.ended_at is None else row.ended_at
