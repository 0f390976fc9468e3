"""One writer a deployment: its lock is a row that says who, since when, and what for.

It is taken over from a process of this host that has died, and from another host's once it has expired. A process of
this host that lives keeps its lock, however late it is.
"""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil
from sqlalchemy.exc import IntegrityError

from planner.errors import Refused
from thunderctl.store.database import Database
from thunderctl.store.tables import LockTable
from thunderctl.store.values import Holder

LOCK_S = 900.0
"""How long another host waits for a holder that has stopped renewing."""
CLOCK_TOLERANCE_S = 2.0
"""Start times come from the boot time, which moves when the clock is set."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lock in hand. `renew` it in loops that may outlast LOCK_S."""

    _locks: "Locks"
    holder: Holder

    def renew(self) -> None:
        """Put the expiry off. Raises Refused when somebody else has taken the lock over: then write nothing more."""
        self._locks._renew(self.holder)


class Locks(Database):
    def holder(self, deployment: str) -> Holder | None:
        """Who holds the lock, if it is held and its holder is not known to be dead or late."""
        with self._read() as session:
            record = session.get(LockTable, deployment)
            holder = _holder(record) if record else None
        return None if holder is None or self._may_take_over(holder) else holder

    @contextmanager
    def lock(self, deployment: str, message: str) -> Iterator[Held]:
        """Hold the deployment's lock for the block. Raises Refused naming who holds it, since when, and why."""
        mine = self._myself(deployment, message)
        try:
            self._take(mine)
        except IntegrityError:  # somebody inserted theirs between our look and our insert
            self._take(mine)
        try:
            yield Held(self, mine)
        finally:
            self._give_back(mine)

    def _take(self, mine: Holder) -> None:
        with self._write() as session:
            record = session.get(LockTable, mine.deployment, with_for_update=True)
            if record is not None and not self._may_take_over(_holder(record)):
                raise _refusal(_holder(record))
            session.merge(LockTable(**asdict(mine)))

    def _renew(self, mine: Holder) -> None:
        with self._write() as session:
            record = session.get(LockTable, mine.deployment, with_for_update=True)
            if record is None or not _same(_holder(record), mine):
                raise Refused(
                    f"The lock of deployment {mine.deployment} was taken over.", hint="Run the command again."
                )
            record.expires_at = self._now() + LOCK_S
            session.add(record)

    def _give_back(self, mine: Holder) -> None:
        with self._write() as session:
            record = session.get(LockTable, mine.deployment, with_for_update=True)
            if record is not None and _same(_holder(record), mine):
                session.delete(record)

    def _myself(self, deployment: str, message: str) -> Holder:
        me, host, now = psutil.Process(), socket.gethostname(), self._now()
        user = f"{getpass.getuser()}@{host}"
        return Holder(deployment, user, host, os.getpid(), me.create_time(), message, now, now + LOCK_S)

    def _may_take_over(self, holder: Holder) -> bool:
        if holder.host == socket.gethostname():
            return not _lives(holder)
        return self._now() >= holder.expires_at


def _lives(holder: Holder) -> bool:
    try:
        started_at = psutil.Process(holder.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(started_at - holder.started_at) <= CLOCK_TOLERANCE_S


def _same(found: Holder, mine: Holder) -> bool:
    return (found.host, found.pid, found.taken_at) == (mine.host, mine.pid, mine.taken_at)


def _refusal(holder: Holder) -> Refused:
    since = datetime.fromtimestamp(holder.taken_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Refused(
        f"Deployment {holder.deployment} is being changed by {holder.user} (process {holder.pid}) since {since}: "
        f"{holder.message}.",
        hint="Wait until it is done, or end that process: its lock goes with it.",
    )


def _holder(record: LockTable) -> Holder:
    return Holder(**record.model_dump())
