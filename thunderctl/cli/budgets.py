"""`--budget`: $/h as a number, or a range of them to sweep over."""

from planner.errors import SpecError

POINTS = 8
"""Budgets of a range that states no step, both ends included."""
MOST_POINTS = 200
MOST_USD_PER_HOUR = 1e9


def budgets_of(text: str) -> tuple[float, ...]:
    """`14` is one budget; `5..40` eight from 5 to 40; `5..40:2.5` every 2.5 from 5 on. Raises SpecError."""
    ends, _, step = text.partition(":")
    first, dots, last = ends.partition("..")
    if not dots:
        if step:
            raise _wrong(text)
        return (_usd(first, text),)
    low, high = _usd(first, text), _usd(last, text)
    each = _usd(step, text) if step else (high - low) / (POINTS - 1)
    if high <= low or each <= 0 or (high - low) / each > MOST_POINTS:
        raise _wrong(text)
    count = int((high - low) / each + 1e-9) + 1
    return tuple(round(low + i * each, 6) for i in range(count))


def _usd(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _wrong(whole) from None
    if not 0 <= value <= MOST_USD_PER_HOUR:
        raise _wrong(whole)
    return value


def _wrong(text: str) -> SpecError:
    return SpecError(
        f"--budget is {text}; expected $/h of 0 or more such as 14, or a range such as 5..40 or 5..40:5 of at most "
        f"{MOST_POINTS} steps."
    )
