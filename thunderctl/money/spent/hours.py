"""Days and hours as clocks show them somewhere: what a report of money is cut at. Pure."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from planner.errors import SpecError

HOUR_S = 3600.0


def zone(name: str) -> tzinfo:
    """The time zone of that name. Raises SpecError."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SpecError(
            f"--tz is {name!r}; expected a time zone such as Europe/Berlin or UTC.",
            hint="Where every name is refused, this host has no time zone data: install tzdata.",
        ) from error


def next_hour(at: float, tz: tzinfo) -> float:
    """When the next full hour begins there. No day ends but at one, also where clocks are put forward or back."""
    offset = datetime.fromtimestamp(at, tz).utcoffset()
    offset_s = offset.total_seconds() if offset else 0.0
    return (at + offset_s) // HOUR_S * HOUR_S - offset_s + HOUR_S


def day_of(at: float, tz: tzinfo) -> str:
    """`2027-01-31`"""
    return datetime.fromtimestamp(at, tz).date().isoformat()


def hour_of(at: float, tz: tzinfo) -> str:
    """`2027-01-31T20:00Z`, or with the offset from UTC: of the hour that is there twice in autumn, it tells which."""
    shown = datetime.fromtimestamp(at, tz).replace(minute=0).isoformat(timespec="minutes")
    return shown.replace("+00:00", "Z") if tz is UTC else shown
