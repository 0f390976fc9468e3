"""A router over engines that take anything, in a thread of its own, for tests that ask it from outside."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from runtime.router.settings import RouterSettings
from tests.fakes import serving
from tests.runtime.passed_engine import PassedEngine
from tests.runtime.routing import Running, routes_document, routing

ROUTES = [("p0", "d0", 0.4, "int4"), ("p0", "d1", 0.4, "raw"), ("d0", "d0", 0.2, "local")]
SETTINGS = RouterSettings(max_body_bytes=200_000, body_s=0.3, client_idle_s=0.5)
OWN_TICKET = {"do_remote_prefill", "do_remote_decode"}


class TolerantEngine(PassedEngine):
    """Reads of a body what it can, and answers with three words. `leaks`: transfer words that were a client's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.leaks: list[Any] = []

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        assert isinstance(body, dict)
        transfer = body.get("kv_transfer_params")
        words = {word for extras in (body, body.get("vllm_xargs")) if isinstance(extras, dict) for word in extras}
        if "ec_transfer_params" in words or (transfer is not None and OWN_TICKET.isdisjoint(transfer)):
            self.leaks.append(body)
        clean = {"stream": body.get("stream") is True, "max_tokens": 3}
        return await self._answer(request, clean | ({"kv_transfer_params": transfer} if transfer else {}))


@contextmanager
def fuzzed(folder: Path) -> Iterator[Running]:
    """The router, from another thread's view: only its `url` is of use there. At the end nothing of it may be left."""
    engines = {name: TolerantEngine(name) for name in ("p0", "d0", "d1")}
    ready: list[Running] = []
    begun, over = threading.Event(), threading.Event()

    async def live() -> None:
        async with (
            serving(*engines.values()),
            routing(folder, routes_document(engines, ROUTES), settings=SETTINGS) as made,
        ):
            ready.append(made)
            begun.set()
            await asyncio.to_thread(over.wait)
            seen = await made.observed()
            assert (seen["admitted"], seen["queued"], sum(seen["in_flight_at"].values())) == (0, 0, 0)
            assert all(replica["healthy"] for replica in seen["replicas"])

    thread = Thread(live())
    thread.start()
    try:
        assert begun.wait(30)
        yield ready[0]
    finally:
        over.set()
        thread.join()
    assert not any(engine.leaks for engine in engines.values())


class Thread(threading.Thread):
    """Runs a coroutine; what it raises is raised where it is joined."""

    def __init__(self, work: Any) -> None:
        super().__init__()
        self._work = work
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._work)
        except BaseException as error:
            self._error = error

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self._error is not None:
            raise self._error
