"""What the control plane asks of one agent, over mutual TLS, by the name in its certificate."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Self

import aiohttp

from planner.deployment import Replica
from planner.errors import HostError
from runtime.lost_hosts import not_again, noticing
from runtime.messages import AgentHealth, EngineSpec, ReplicaAddress, agent_name
from runtime.relay.ticket import AgentAddress
from thunderctl.logs.lines import UNPRINTABLE

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
STOP_TIMEOUT = aiohttp.ClientTimeout(total=90, connect=5)
"""The answer comes when the engine has ended: after its requests' grace (AgentConfig.stop_grace_s), then the kill."""


LONGEST_ANSWER = 16 << 20
LONGEST_LOG = 64 << 20
LONGEST_REFUSAL = 64 << 10
"""Bytes of an answer: what a broken agent sends without end must not fill this host's memory."""
LOST_AFTER_S = 1.0
"""A host that acknowledges nothing for so long is not reached. A packet is lost up to three times in that, even where
the way there and back takes 150 ms."""
SHOWN = 2000
"""Characters of a refusal that are worth repeating."""


class TooMuch(Exception):
    """An answer is longer than it may be."""


class AgentClient:
    """One agent. Every call may be made again; a call that fails raises HostError naming the instance."""

    def __init__(
        self, session: aiohttp.ClientSession, tls: ssl.SSLContext, lease_id: str, host: str, port: int
    ) -> None:
        self._session = session
        self._tls = tls
        self.lease_id = lease_id
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def name(self) -> str:
        return agent_name(self.lease_id)

    async def health(self) -> AgentHealth:
        said = await self._json("GET", "/health")
        try:
            return AgentHealth.from_json(said)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HostError(f"The agent of {self.lease_id} answers what can't be understood: {error!r}.") from error

    async def start(self, spec: EngineSpec) -> None:
        """Start an engine. The same spec again does nothing; readiness shows in `health`."""
        await self._json("POST", "/engines", spec.to_json())

    async def stop(self, replica: str) -> None:
        """Stop an engine; one that is gone is a success."""
        await self._json("DELETE", f"/engines/{replica}", timeout=STOP_TIMEOUT)

    async def log(self, replica: str, lines: int) -> str:
        """The end of an engine's log."""
        async with self._request("GET", f"/engines/{replica}/log?lines={lines}") as response:
            return (await _read(response, LONGEST_LOG)).decode(errors="replace")

    async def engine_metrics(self, replica: str) -> str:
        """What an engine says at its /metrics."""
        async with self._request("GET", f"/r/{replica}/metrics") as response:
            return (await _read(response, LONGEST_ANSWER)).decode(errors="replace")

    @property
    def address(self) -> AgentAddress:
        """For other agents, where these can dial it."""
        return AgentAddress(self.host, self.port, self.name)

    async def dial(self, peers: Iterable[AgentAddress]) -> None:
        """Have it keep streams open to these agents, and no others, so that they can ask it."""
        await self._json("PUT", "/kv/peers", {"peers": [asdict(peer) for peer in peers]})

    async def shutdown(self) -> None:
        """Stop the engines, then the agent."""
        await self._json("POST", "/shutdown")

    async def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: aiohttp.ClientTimeout = TIMEOUT
    ) -> Any:
        async with self._request(method, path, body, timeout) as response:
            is_json = response.content_type == "application/json"
            return json.loads(await _read(response, LONGEST_ANSWER)) if is_json else None

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: aiohttp.ClientTimeout = TIMEOUT
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method,
                self.url + path,
                json=body,
                ssl=self._tls,
                server_hostname=self.name,
                timeout=timeout,
                allow_redirects=False,  # whom it names instead is not it
            ) as response:
                if response.status >= 300:
                    said = (await _read(response, LONGEST_REFUSAL)).decode(errors="replace")
                    raise HostError(f"The agent of {self.lease_id} said no: {said_in(said) or response.status}")
                yield response
        except TooMuch as error:
            raise HostError(f"The agent of {self.lease_id} answers more than {error} bytes.") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HostError(
                f"The agent of {self.lease_id} at {self.url} can't be reached: {cause_of(error)}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise HostError(f"The agent of {self.lease_id} answers what is no JSON: {cause_of(error)}.") from error


class Agents:
    """The session that all calls to a deployment's agents share."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        plainly = {"Accept-Encoding": "identity"}  # a few KB that unpack to GBs are no answer of ours
        connector = aiohttp.TCPConnector(socket_factory=noticing(LOST_AFTER_S))
        once = not_again(LOST_AFTER_S)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=plainly, auto_decompress=False, trace_configs=[once]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()
            await asyncio.sleep(0)  # lets TLS transports close before the loop does

    def at(self, lease_id: str, host: str, port: int) -> AgentClient:
        assert self._session is not None
        return AgentClient(self._session, self._tls, lease_id, host, port)


def address_of(replica: Replica, agent: AgentClient, health: AgentHealth) -> ReplicaAddress:
    """Where a replica is reached through its agent, with what that says of its engine."""
    limit = next((engine.default_max_tokens for engine in health.engines if engine.replica == replica.id), None)
    url = f"{agent.url}/r/{replica.id}"
    return ReplicaAddress(replica.id, replica.phase, url, server_name=agent.name, default_max_tokens=limit)


async def _read(response: aiohttp.ClientResponse, longest: int) -> bytes:
    """The body. Raises TooMuch."""
    found = bytearray()
    async for piece in response.content.iter_any():
        found += piece
        if len(found) > longest:
            raise TooMuch(longest)
    return bytes(found)


def said_in(body: str) -> str:
    """The message in an error answer of ours, else its text: its beginning, as it may be shown on a terminal."""
    try:
        text = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = body.strip()
    return UNPRINTABLE.sub("", text)[:SHOWN]


def cause_of(error: Exception) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        return error.os_error.strerror.lower()
    return str(error) or type(error).__name__
