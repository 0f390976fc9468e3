"""What parts of what was spent may be added up by."""

from enum import StrEnum


class By(StrEnum):
    """Days and hours are those of a clock somewhere; `model` is what the lease's plan served then."""

    HOUR = "hour"
    DAY = "day"
    LEASE = "lease"
    MODEL = "model"
