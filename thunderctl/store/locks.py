"""One writer a deployment: its lock is a row that says who, since when, and what for.

It is taken over from a process of this host that has died, and from another host's once it has expired. A process of
this host that lives keeps its lock, however late it is. Who is soon done, as the controller is, is waited for. Where
hosts share a store, its server's clock says what is late.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from sqlmodel import Session

from planner.errors import Refused, ThunderError
from runtime.processes import ProcessId, is_alive, own_process_id
from thunderctl.store.database import Database
from thunderctl.store.moved import MovedAway, refuse_moved
from thunderctl.store.tables import LockTable
from thunderctl.store.this_host import this_host, this_user
from thunderctl.store.values import Holder

LOCK_S = 900.0
"""How long another host waits for a holder that has stopped renewing."""
BRIEF_S = 60.0
"""Who takes a lock for so long at most does one thing and is done: others wait for that, for twice as long."""
LOOK_EVERY_S = 0.1
RENEWALS = 6
"""How often a lock is renewed within the time that it lasts."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A lock in hand. `renew` it in loops that may outlast what it was taken for, or do such work `during` it."""

    _locks: "Locks"
    holder: Holder

    def renew(self) -> None:
        """Put the expiry off. Raises Refused when somebody else has taken the lock over: then write nothing more."""
        self._locks._renew(self.holder)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` and renew meanwhile. Raises Refused, and cancels it, once somebody else took the lock over."""
        doing, renewing = asyncio.ensure_future(work), asyncio.ensure_future(self._go_on_renewing())
        try:
            await asyncio.wait({doing, renewing}, return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else renewing.result()
        finally:
            doing.cancel()
            renewing.cancel()
            await asyncio.gather(doing, renewing, return_exceptions=True)

    async def _go_on_renewing(self) -> NoReturn:
        """A store that can't be reached is no sign of another holder."""
        while True:
            await asyncio.sleep((self.holder.expires_at - self.holder.taken_at) / RENEWALS)
            try:
                self.renew()
            except Refused:
                raise
            except ThunderError as error:
                log.warning("the lock can't be renewed: %s", error.message)


class Locks(Database):
    def __init__(self, url: str | None = None, *, now: Callable[[], float] | None = None) -> None:
        super().__init__(url, now=now)
        self._owed: list[Holder] = []

    def holder(self, deployment: str) -> Holder | None:
        """Who holds the lock, if it is held and its holder is not known to be dead or late."""
        with self._read() as session:
            record = session.get(LockTable, deployment)
            if record is None or _may_be_taken(_holder(record), self._locks_at(session)):
                return None
            return _holder(record)

    @contextmanager
    def lock(self, deployment: str, message: str, *, lasts_s: float = LOCK_S, waits: bool = True) -> Iterator[Held]:
        """Hold the deployment's lock for the block. Raises Refused naming who holds it, since when, and why.

        `lasts_s` is how long another host would wait for us, were we never heard of again. Who is soon done is waited
        for, with this thread, if it `waits`.
        """
        mine = self._taken(deployment, message, lasts_s) if waits else self._take(deployment, message, lasts_s)
        try:
            yield Held(self, mine)
        finally:
            self._give_back(mine)

    def _taken(self, deployment: str, message: str, lasts_s: float) -> Holder:
        deadline = time.monotonic() + 2 * BRIEF_S
        while True:
            try:
                return self._take(deployment, message, lasts_s)
            except MovedAway:
                raise
            except Refused:
                if not self._is_brief(deployment) or time.monotonic() >= deadline:
                    raise
            time.sleep(LOOK_EVERY_S)

    def _is_brief(self, deployment: str) -> bool:
        """Whether nobody holds the lock, or somebody who never promised more than `BRIEF_S` from then on.

        Counted from now: one who does one thing after the other renews it before each.
        """
        with self._read() as session:
            record, at = session.get(LockTable, deployment), self._locks_at(session)
            return record is None or _may_be_taken(_holder(record), at) or 0 <= record.expires_at - at <= BRIEF_S

    def _take(self, deployment: str, message: str, lasts_s: float) -> Holder:
        with self._settled() as session:
            refuse_moved(session, deployment)
            record, at = session.get(LockTable, deployment, with_for_update=True), self._locks_at(session)
            if record is not None and not _may_be_taken(_holder(record), at):
                raise refusal(_holder(record))
            mine = _myself(deployment, message, at, lasts_s)
            session.merge(LockTable(**asdict(mine)))
            self._owed.append(mine)  # should it not be heard of whether the transaction ended well
        self._owed.remove(mine)
        return mine

    def _renew(self, mine: Holder) -> None:
        with self._settled() as session:
            record = session.get(LockTable, mine.deployment, with_for_update=True)
            if record is None or not _same(_holder(record), mine):
                raise Refused(
                    f"The lock of deployment {mine.deployment} was taken over.", hint="Run the command again."
                )
            record.expires_at = self._locks_at(session) + (mine.expires_at - mine.taken_at)
            session.add(record)

    def _give_back(self, mine: Holder) -> None:
        self._owed.append(mine)
        with self._settled():
            pass

    @contextmanager
    def _settled(self) -> Iterator[Session]:
        """A session to write with, once every lock that is owed is given back.

        What could not be given back when it was due, because the store was out of reach, would never be taken over:
        its holder lives. So it is given back with the next that is taken or renewed.
        """
        owed = tuple(self._owed)
        with self._write() as session:
            for one in owed:
                record = session.get(LockTable, one.deployment, with_for_update=True)
                if record is not None and _same(_holder(record), one):
                    session.delete(record)
                    session.flush()
            yield session
        for one in owed:
            self._owed.remove(one)


def _myself(deployment: str, message: str, at: float, lasts_s: float) -> Holder:
    me = own_process_id()
    user = f"{this_user()}@{socket.gethostname()}"
    return Holder(deployment, user, this_host(), me.pid, me.started_at, message, at, at + lasts_s)


def _may_be_taken(holder: Holder, at: float) -> bool:
    if holder.host == this_host():
        return not is_alive(ProcessId(holder.pid, holder.started_at))
    return at >= holder.expires_at


def _same(found: Holder, mine: Holder) -> bool:
    return (found.host, found.pid, found.taken_at) == (mine.host, mine.pid, mine.taken_at)


def refusal(holder: Holder) -> Refused:
    since = datetime.fromtimestamp(holder.taken_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Refused(
        f"Deployment {holder.deployment} is being changed by {holder.user} (process {holder.pid}) since {since}: "
        f"{holder.message}.",
        hint="Wait until it is done, or end that process: its lock goes with it.",
    )


def _holder(record: LockTable) -> Holder:
    return Holder(**record.model_dump())
