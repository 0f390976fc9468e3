"""What is due: leases whose end has come near, and a deployment whose money runs out. Pure: who runs it acts on it.

Both ends come in the same steps: an hour ahead a warning, minutes ahead no more requests, and shortly ahead the
release, so that what is asked to go is gone by then. What lives shorter than that gets a share of its life instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from provisioners.leases.journal import Cause, LeaseRow

WARN_S, DRAIN_S, RELEASE_S = 3600.0, 300.0, 60.0
DRAIN_SHARE, RELEASE_SHARE = 0.1, 0.02
"""Of a life: the most that draining and release may take off its end."""


class Due(StrEnum):
    """What to do now."""

    WARN = "warn"
    DRAIN = "drain"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Limit:
    """What is due now for these leases, which end `at` (seconds since the epoch), and why, in words.

    Requests under way have `notice_s`, counted from when the leases began to drain, however late it is: what was spent
    may become known in one piece, and a fleet that serves well is not cut off for that.
    """

    due: Due
    lease_ids: tuple[str, ...]
    at: float
    reason: str
    cause: Cause = Cause.TIME
    notice_s: float = 0.0


def limits(
    rows: Iterable[LeaseRow],
    now: float,
    *,
    spent_usd: Decimal,
    usd_per_hour: Decimal,
    max_total_usd: float,
) -> tuple[Limit, ...]:
    """What is due for the leases of a deployment that run; the most urgent first. Nothing due: empty.

    `spent_usd` and `usd_per_hour` are the deployment's, machines and transfers together, whatever still may cost.
    """
    running = [row for row in rows if row.state.runs]
    found = [*_ending(running, now), *_used_up(running, now, spent_usd, usd_per_hour, max_total_usd)]
    return tuple(sorted(found, key=lambda limit: (limit.due is not Due.RELEASE, limit.due is Due.WARN, limit.at)))


def _ending(running: Sequence[LeaseRow], now: float) -> Iterable[Limit]:
    """By the time that each lease was given: one limit for all of which the same is due."""
    ends = {row: row.expires_at for row in running if row.expires_at is not None}
    due = {row: _due(at, now, at - row.created_at) for row, at in ends.items()}
    for step in Due:
        near = sorted((row for row in ends if due[row] is step), key=ends.__getitem__)
        if near:
            first = ends[near[0]]
            names = ", ".join(row.instance for row in near)
            leases = f"The lease of {names} ends" if len(near) == 1 else f"The leases of {names} end"
            reason = f"{leases} at {_clock(first)}, {_left(first - now)}: [budget] max_hours."
            yield Limit(step, tuple(row.lease_id for row in near), first, reason)


def _used_up(
    running: Sequence[LeaseRow], now: float, spent_usd: Decimal, usd_per_hour: Decimal, max_total_usd: float
) -> Iterable[Limit]:
    """By the money: when what is spent reaches the most that may be, at what it costs now."""
    left_usd = Decimal(repr(float(max_total_usd))) - spent_usd
    if not running or (usd_per_hour <= 0 and left_usd > 0):
        return
    at = now + max(0.0, float(left_usd / usd_per_hour) * 3600 if usd_per_hour > 0 else 0.0)
    life_s = at - min(row.created_at for row in running)
    due = _due(at, now, life_s)
    if due is not None:
        reason = (
            f"{spent_usd:.2f} $ are spent of [budget] max_total_usd = {max_total_usd:.2f} $; "
            f"at {float(usd_per_hour):.4g} $/h the rest is used up at {_clock(at)}, {_left(at - now)}."
        )
        ids = tuple(row.lease_id for row in running)
        yield Limit(due, ids, at, reason, Cause.MONEY, _drain_s(life_s) - _release_s(life_s))


def _due(at: float, now: float, life_s: float) -> Due | None:
    left_s = at - now
    if left_s <= _release_s(life_s):
        return Due.RELEASE
    if left_s <= _drain_s(life_s):
        return Due.DRAIN
    return Due.WARN if left_s <= WARN_S else None


def _drain_s(life_s: float) -> float:
    return min(DRAIN_S, max(0.0, life_s) * DRAIN_SHARE)


def _release_s(life_s: float) -> float:
    return min(RELEASE_S, max(0.0, life_s) * RELEASE_SHARE)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")


def _left(seconds: float) -> str:
    return f"in {seconds / 60:.0f} min" if seconds > 0 else "which is now"
