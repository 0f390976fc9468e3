"""One request to one replica, and how it fails."""

import asyncio
from collections.abc import Mapping
from typing import Self

from runtime.open_files import ran_out
from runtime.router.engines.connection import Broken, Connection, OnInterim, Take
from runtime.router.engines.pool import ConnectionPool
from runtime.router.surface.errors import error_kind

TURNED_AWAY = (401, 403)
NOT_IMPLEMENTED = 501
BAD_GATEWAY = 502
UNAVAILABLE = 503
SAY_S = 5.0


class ReplicaFailed(Exception):
    """A replica did not do its leg. `unreachable`: nobody should try it for a while. `reached`: it had the request.

    `refused`: it is well, and could not do this one (503).
    """

    def __init__(
        self, replica: str, reason: str, *, unreachable: bool, reached: bool = True, refused: bool = False
    ) -> None:
        super().__init__(f"{replica}: {reason}")
        self.replica = replica
        self.reason = reason
        self.unreachable = unreachable
        self.reached = reached
        self.refused = refused


class Leg:
    """One request to one replica, as an async context manager. Leaving it early closes the connection at once.

    Entering and reading raise ReplicaFailed where the replica can't be reached, says 5xx or that this router may not
    ask (the client's credentials never get that far), or breaks off.
    """

    def __init__(
        self,
        replica: str,
        pool: ConnectionPool,
        request: bytes,
        under_way: "set[Leg]",
        *,
        answer_s: float,
        on_interim: OnInterim | None = None,
        sequences: int = 1,
    ) -> None:
        self.replica = replica
        self.sequences = sequences
        self.pool = pool
        self._request = request
        self._under_way = under_way
        self._answer_s = answer_s
        self._on_interim = on_interim
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        self._under_way.add(self)
        try:
            await self._ask()
            if self.status in TURNED_AWAY or (self.status >= 500 and self.status != NOT_IMPLEMENTED):
                said = error_kind(await self._open.whole(SAY_S))
                unreachable, refused = self.status == BAD_GATEWAY, self.status == UNAVAILABLE
                reason = f"answered {self.status}{said}"
                raise ReplicaFailed(self.replica, reason, unreachable=unreachable, refused=refused)
        except OSError as error:
            self._leave()
            raise self._failed(error) from error
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    @property
    def status(self) -> int:
        return self._open.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        return self._open.headers

    async def read(self, within_s: float) -> bytes:
        """The whole answer."""
        try:
            return await self._open.whole(within_s)
        except OSError as error:
            raise self._failed(error) from error

    async def chunk(self, within_s: float) -> bytes:
        """The bytes that came next, b"" at the end."""
        try:
            return await self._open.chunk(within_s)
        except OSError as error:
            raise self._failed(error) from error

    async def pass_on(self, take: Take, within_s: float) -> bool:
        """Give the rest of the answer to `take` as it comes; whether there is more, which it does not take now."""
        try:
            return await self._open.pass_on(take, within_s)
        except OSError as error:
            raise self._failed(error, stalled=True) from error

    def cut(self, reason: str, *, silent_s: float) -> None:
        """Break it off as if its replica had, unless it heard something in the last `silent_s`."""
        connection = self._connection
        if connection is not None and asyncio.get_running_loop().time() - connection.heard_at >= silent_s:
            connection.give_up(reason)

    @property
    def _open(self) -> Connection:
        assert self._connection is not None, "a leg is used inside its context"
        return self._connection

    async def _ask(self) -> None:
        connection = self._connection = await self.pool.take()
        try:
            await connection.ask(self._request, self._answer_s, self._on_interim)
        except Broken as broken:
            if not broken.unanswered or connection.uses == 1:
                raise
            # What an idle connection looks like that the other side has given up: one fresh attempt.
            self._connection = None  # that one never had it
            connection = self._connection = await self.pool.take(fresh=True)
            await connection.ask(self._request, self._answer_s, self._on_interim)

    def _leave(self) -> None:
        self._under_way.discard(self)
        if self._connection is not None:
            self.pool.give_back(self._connection)

    def _failed(self, error: OSError, *, stalled: bool = False) -> ReplicaFailed:
        """A replica that had the request and is late may have much to do: whether it is well is for probes to find.

        One that `stalled`, in the middle of a stream, hangs whatever it says.
        """
        late, reached = isinstance(error, TimeoutError), self._connection is not None
        reason = "did not answer in time" if late else f"{type(error).__name__}: {error}"
        unreachable = not ran_out(error) and not (late and reached and not stalled)
        return ReplicaFailed(self.replica, reason, unreachable=unreachable, reached=reached)
