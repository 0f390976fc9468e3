"""Figures as people read them, on the terminal screen and on the web page: money, latencies, shares, times. Pure."""

from datetime import UTC, datetime

LITTLE = 0.01


def usd(amount: float) -> str:
    """`$0.060`, `$13.54`, `$1,204`."""
    return f"${amount:.3f}" if amount < 1 else f"${amount:.2f}" if amount < 1000 else f"${amount:,.0f}"


def seconds(value: float | None) -> str:
    """A latency; a dash where nobody has measured it."""
    if value is None:
        return "-"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def span(value: float) -> str:
    """`45 s`, `12 min`, `8 h 12 min`, `3 d 4 h`."""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def share(value: float | None) -> str:
    """`94%`; what is little and not nothing to a tenth of that."""
    return "-" if value is None else f"{value:.1%}" if 0 < value < LITTLE else f"{value:.0%}"


def gbit(value: float | None) -> str:
    """To three digits; empty where nobody has measured it."""
    return "" if value is None else f"{value:.3g} Gbit/s"


def clock(at: float) -> str:
    """The time of day, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def moment(text: str) -> str:
    """The time of day of an RFC 3339 time, in UTC."""
    return clock(datetime.fromisoformat(text).timestamp())
