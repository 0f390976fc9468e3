"""What each kind of database gives the store: engines to read and to write with, and the clock that locks go by."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session


@dataclass(frozen=True, slots=True)
class Engines:
    """`writing` begins transactions that queue up: of two, the second sees all that the first did.

    `locks_at` is the time of day, in seconds since the epoch, that is the same for all who share the database.
    """

    reading: Engine
    writing: Engine
    locks_at: Callable[[Session], float]
