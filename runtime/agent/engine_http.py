"""The agent's side of an engine's Unix socket: its health, its load, and requests passed on."""

import asyncio
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

PROBE_TIMEOUT_S = 5.0
LOAD_KEPT_S = 1.0
KEEPALIVE_S: Final = 60.0
BASE = "http://engine"

_GAUGES = {
    "running": re.compile(r"^vllm:num_requests_running(?:\{[^}]*\})? (\S+)$", re.MULTILINE),
    "waiting": re.compile(r"^vllm:num_requests_waiting(?:\{[^}]*\})? (\S+)$", re.MULTILINE),
    "kv_usage": re.compile(r"^vllm:kv_cache_usage_perc(?:\{[^}]*\})? (\S+)$", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that run and wait in an engine, and the used share of its KV blocks."""

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0


def read_load(metrics: str) -> Load:
    """From the text of vLLM's /metrics; what is not there counts as 0. Raises ValueError for what is no figure."""
    sums = {name: sum(float(value) for value in gauge.findall(metrics)) for name, gauge in _GAUGES.items()}
    if not all(map(math.isfinite, sums.values())):
        raise ValueError(f"an engine's load is {sums}")
    return Load(int(sums["running"]), int(sums["waiting"]), sums["kv_usage"])


class EngineHttp:
    """One engine's socket. Connections are kept, so a call costs little; `close` ends them."""

    def __init__(self, socket_path: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._socket_path = socket_path
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._load = Load()
        self._load_at = float("-inf")

    @property
    def session(self) -> aiohttp.ClientSession:
        """Opened on first use, in the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(self._socket_path, limit=0, keepalive_timeout=KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers={"User-Agent", "Accept", "Accept-Encoding", "Content-Type"},
                auto_decompress=False,
            )
        return self._session

    async def status(self) -> int | None:
        """What /health answers; None while nothing listens or it takes too long."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S), self.session.get(f"{BASE}/health") as response:
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def load(self) -> Load:
        """The engine's load, at most a second old; the last known while it does not say it."""
        if self._now() - self._load_at >= LOAD_KEPT_S:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S), self.session.get(f"{BASE}/metrics") as response:
                    self._load = read_load(await response.text())
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                pass  # a busy engine, or one that is confused: its state says whether it lives
            self._load_at = self._now()
        return self._load

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
