"""The router's side of its connections to replicas: plain engines, or agents over mutual TLS that stand before them."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from runtime.messages import ReplicaAddress
from runtime.router.connection import Broken, Connection, ConnectionPool, OnInterim
from runtime.router.errors import error_kind
from runtime.router.open_files import ran_out
from runtime.router.settings import RouterSettings

log = logging.getLogger(__name__)

TURNED_AWAY = (401, 403)
NOT_IMPLEMENTED = 501
BAD_GATEWAY = 502
SAY_S = 5.0


class ReplicaFailed(Exception):
    """A replica did not do its leg. `unreachable`: nobody should try it for a while. `reached`: it had the request."""

    def __init__(self, replica: str, reason: str, *, unreachable: bool, reached: bool = True) -> None:
        super().__init__(f"{replica}: {reason}")
        self.replica = replica
        self.reason = reason
        self.unreachable = unreachable
        self.reached = reached


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
    ) -> None:
        self.replica = replica
        self._pool = pool
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
                unreachable = self.status == BAD_GATEWAY
                raise ReplicaFailed(self.replica, f"answered {self.status}{said}", unreachable=unreachable)
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
        connection = self._connection = await self._pool.take()
        try:
            await connection.ask(self._request, self._answer_s, self._on_interim)
        except Broken as broken:
            if not broken.unanswered or connection.uses == 1:
                raise
            # What an idle connection looks like that the other side has given up: one fresh attempt.
            self._connection = None  # that one never had it
            connection = self._connection = await self._pool.take(fresh=True)
            await connection.ask(self._request, self._answer_s, self._on_interim)

    def _leave(self) -> None:
        self._under_way.discard(self)
        if self._connection is not None:
            self._pool.give_back(self._connection)

    def _failed(self, error: OSError) -> ReplicaFailed:
        late = isinstance(error, TimeoutError)
        reason = "did not answer in time" if late else f"{type(error).__name__}: {error}"
        reached = self._connection is not None
        return ReplicaFailed(self.replica, reason, unreachable=not ran_out(error), reached=reached)


class Upstream:
    """Connections to the replicas of every epoch. Use as an async context manager."""

    def __init__(self, settings: RouterSettings, tls: ssl.SSLContext | None = None) -> None:
        self._under_way: set[Leg] = set()
        self._settings = settings
        self._tls = tls
        self._pools: dict[tuple[str, str], tuple[ConnectionPool, bytes]] = {}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._settings.probe_timeout_s)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool, _head in self._pools.values():
            pool.close()
        await self._session.close()
        await asyncio.sleep(0)  # lets closed TLS transports go before the loop does

    def post(
        self,
        replica: ReplicaAddress,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        answer_s: float,
        on_interim: OnInterim | None = None,
    ) -> Leg:
        """A leg that posts `body`; its answer begins within `answer_s`."""
        key = (replica.url, replica.server_name)
        if key not in self._pools:
            self._pools[key] = self._connected(replica)
        pool, head = self._pools[key]
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        rest = f"{path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n".encode()
        return Leg(replica.id, pool, head % rest + body, self._under_way, answer_s=answer_s, on_interim=on_interim)

    def in_flight(self) -> Counter[str]:
        """Legs under way, by replica."""
        return Counter(leg.replica for leg in self._under_way)

    def cut(self, replica: str, *, silent_s: float) -> None:
        """Break off the legs of a replica that hangs, all that have heard nothing for so long."""
        for leg in [leg for leg in self._under_way if leg.replica == replica]:
            leg.cut("its replica does not answer", silent_s=silent_s)

    async def probe(self, replica: ReplicaAddress) -> str:
        """Ask for its health: empty when it is well, else what is wrong."""
        try:
            async with self._request("GET", replica, f"{replica.url}/health") as response:
                return "" if response.status == 200 else f"/health says {response.status}"
        except TimeoutError:
            return f"/health did not answer in {self._settings.probe_timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return "" if isinstance(error, OSError) and ran_out(error) else f"{type(error).__name__}: {error}"

    async def drop(self, replica: ReplicaAddress, ticket: bytes) -> None:
        """Tell the agent before a prefill replica that nobody will come for a ticket. Its expiry is the second way."""
        url = f"{replica.url.rsplit('/r/', 1)[0]}/kv/drop"
        try:
            async with self._request("POST", replica, url, ticket, {"Content-Type": "application/json"}) as response:
                if response.status >= 400:
                    log.warning("dropping a ticket of %s: answered %d", replica.id, response.status)
        except (aiohttp.ClientError, OSError) as error:
            log.warning("dropping a ticket of %s: %r", replica.id, error)

    def _request(
        self,
        method: str,
        replica: ReplicaAddress,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "aiohttp.client._RequestContextManager":
        if not replica.server_name:
            return self._session.request(method, url, data=body, headers=headers)
        tls, name = self._credentials(), replica.server_name
        return self._session.request(method, url, data=body, headers=headers, ssl=tls, server_hostname=name)

    def _connected(self, replica: ReplicaAddress) -> tuple[ConnectionPool, bytes]:
        """The pool of an address, and the beginning of every request to it with a place for the rest."""
        url = urlsplit(replica.url)
        secure = url.scheme == "https"
        host, port = url.hostname or "", url.port or (443 if secure else 80)
        tls = self._credentials() if replica.server_name else ssl.create_default_context() if secure else None
        keep_s = self._settings.agent_keepalive_s if replica.server_name else self._settings.engine_keepalive_s
        pool = ConnectionPool(
            host,
            port,
            tls=tls,
            server_name=replica.server_name or (host if secure else None),
            connect_s=self._settings.connect_s,
            keep_s=keep_s,
        )
        prefix, authority = (text.replace("%", "%%") for text in (url.path, url.netloc))
        return pool, f"POST {prefix}%bHost: {authority}\r\n\r\n".encode()

    def _credentials(self) -> ssl.SSLContext:
        assert self._tls is not None, "routes with server_name were refused without credentials"
        return self._tls
