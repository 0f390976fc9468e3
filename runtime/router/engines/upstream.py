"""The router's side of its connections to replicas: plain engines, or agents over mutual TLS that stand before them."""

import asyncio
import logging
import ssl
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from runtime.lost_hosts import not_again, noticing
from runtime.messages import ReplicaAddress
from runtime.open_files import ran_out
from runtime.router.engines.connection import OnInterim
from runtime.router.engines.leg import Leg
from runtime.router.engines.pool import ConnectionPool
from runtime.router.settings import RouterSettings

log = logging.getLogger(__name__)

METRICS_BYTES = 1 << 20
"""An engine says some 100 KB of itself."""


class Upstream:
    """Connections to the replicas of every epoch. Use as an async context manager."""

    def __init__(self, settings: RouterSettings, tls: ssl.SSLContext | None = None) -> None:
        self._under_way: defaultdict[str, set[Leg]] = defaultdict(set)
        self._settings = settings
        self._tls = tls
        self._pools: dict[tuple[str, str], tuple[ConnectionPool, bytes]] = {}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._settings.probe_timeout_s)
        lost_after_s, jar = self._settings.lost_after_s, aiohttp.DummyCookieJar()
        connector = aiohttp.TCPConnector(socket_factory=noticing(lost_after_s))
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=jar, trace_configs=[not_again(lost_after_s)]
        )
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
        sequences: int = 1,
    ) -> Leg:
        """A leg that posts `body`, of so many sequences to its engine; its answer begins within `answer_s`."""
        key = _address(replica)
        if key not in self._pools:
            self._pools[key] = self._connected(replica)
        pool, head = self._pools[key]
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        rest = f"{path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n".encode()
        under_way = self._under_way[replica.id]
        request = head % rest + body
        return Leg(replica.id, pool, request, under_way, answer_s=answer_s, on_interim=on_interim, sequences=sequences)

    def in_flight(self) -> Counter[str]:
        """Legs under way, by replica."""
        return Counter({replica: len(legs) for replica, legs in self._under_way.items() if legs})

    def sequences_at(self, replica: str) -> int:
        """What its engine has, or is to get, by its own count: each choice of each prompt."""
        return sum([leg.sequences for leg in self._under_way.get(replica, ())])

    def cut(self, replica: ReplicaAddress, *, silent_s: float) -> None:
        """Break off the legs of a replica that hangs, all that have heard nothing for so long."""
        pool, _head = self._pools.get(_address(replica), (None, b""))
        for leg in [leg for leg in self._under_way.get(replica.id, ()) if leg.pool is pool]:
            leg.cut("its replica does not answer", silent_s=silent_s)

    def tidy(self, replicas: Iterable[ReplicaAddress]) -> None:
        """End connections that have long been idle, and those to addresses that none of these replicas has."""
        replicas = list(replicas)
        in_use, ids = set(map(_address, replicas)), {replica.id for replica in replicas}
        for gone in [replica for replica, legs in self._under_way.items() if not legs and replica not in ids]:
            del self._under_way[gone]
        for key in self._pools.keys() - in_use:
            self._pools.pop(key)[0].close()
        for pool, _head in self._pools.values():
            pool.tidy()

    async def probe(self, replica: ReplicaAddress) -> str:
        """Ask for its health: empty when it is well, else what is wrong."""
        try:
            async with self._request("GET", replica, f"{replica.url}/health") as response:
                return "" if response.status == 200 else f"/health says {response.status}"
        except TimeoutError:
            return f"/health did not answer in {self._settings.probe_timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return "" if isinstance(error, OSError) and ran_out(error) else f"{type(error).__name__}: {error}"

    async def metrics(self, replica: ReplicaAddress) -> bytes | None:
        """What its engine says of itself, as Prometheus's text; None where it does not, in time or within bounds."""
        found, plainly = bytearray(), {"Accept-Encoding": "identity"}
        try:
            async with self._request("GET", replica, f"{replica.url}/metrics", headers=plainly) as response:
                async for piece in response.content.iter_any():
                    found += piece
                    if len(found) > METRICS_BYTES:
                        return None
                return bytes(found) if response.status == 200 else None
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

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


def _address(replica: ReplicaAddress) -> tuple[str, str]:
    return replica.url, replica.server_name
