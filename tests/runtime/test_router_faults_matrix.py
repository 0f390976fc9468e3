"""Rows of the kill matrix that the tests of single faults leave open; each streamed and not."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psutil
import pytest

from benchmarks.counting_engine import start_engine
from benchmarks.router_process import RouterProcess, mock_router
from benchmarks.router_soak_load import answer
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import PAIR, routes_document, routing, soon
from tests.runtime.test_router_faults import SQUARE, ask

BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True])
STEP_S = 0.02
SECONDS = 10.0
"""What "in seconds" is allowed to be on a machine that is busy with other tests."""


@BOTH_WAYS
async def test_prefill_dies_after_the_transfer(tmp_path: Path, streamed: bool):
    """Row 6: nothing happens to the request."""
    prefill, decode = FakeEngine("p"), FakeEngine("d", hang=True)
    async with serving(decode), AsyncExitStack() as beside:
        async with serving(prefill):
            document = routes_document({"p0": prefill, "d0": decode}, PAIR)
            router = await beside.enter_async_context(routing(tmp_path, document))
            asking = asyncio.create_task(ask(router, streamed))
            await soon(decode.arrived)
        decode.released.set()
        assert await asking == " d1 d2 d3"


@BOTH_WAYS
async def test_no_prefill_replica_is_there(tmp_path: Path, streamed: bool):
    """Row 8: decode prefills by itself, and after the first refused connections nobody asks again."""
    engines = {name: FakeEngine(name) for name in ("p0", "p1", "d0", "d1")}
    async with serving(*engines.values()):
        document = routes_document(engines, SQUARE)
        for replica in document["replicas"][:2]:
            replica["url"] = "http://127.0.0.1:9"
        async with routing(tmp_path, document) as router:
            for _ in range(4):
                assert (await ask(router, streamed)).endswith("3")
            seen = await router.observed()
    assert [replica["id"] for replica in seen["replicas"] if not replica["healthy"]] == ["p0", "p1"]
    assert seen["requests"] == {"ok": 4}


@BOTH_WAYS
@pytest.mark.parametrize("hung", ["p0", "d0"])
async def test_an_engine_takes_the_request_and_says_nothing(tmp_path: Path, streamed: bool, hung: str):
    """Row 17: its time is up, it is out, and another one answers."""
    engines = {name: FakeEngine(name) for name in ("p0", "p1", "d0", "d1")}
    engines[hung].hang = True
    settings = RouterSettings(prefill_s=0.3, first_byte_s=0.3)
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, SQUARE), settings=settings) as router,
    ):
        assert (await ask(router, streamed)).endswith("3")
        seen = await router.observed()
    assert not next(replica for replica in seen["replicas"] if replica["id"] == hung)["healthy"]
    await soon(engines[hung].cancelled)


@pytest.fixture
def engine():
    started = start_engine(step_s=STEP_S)
    yield started
    started.kill()


def over(engine):
    return mock_router({"p0": engine.port, "d0": engine.port}, max_in_flight=100)


async def begun(http: aiohttp.ClientSession, router: RouterProcess, *, streamed: bool) -> asyncio.Task:
    """A long request that an engine is at."""
    body = {"prompt": "1000", "max_tokens": 100_000, "stream": streamed}
    asking = asyncio.create_task(answer(http, router.url, body))
    async with asyncio.timeout(SECONDS):
        while True:
            async with http.get(f"{router.url}/metrics") as response:
                if 'thunder_in_flight{replica="d0"} 1.0' in await response.text():
                    return asking


@BOTH_WAYS
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGKILL])
async def test_a_router_is_restarted(engine, streamed: bool, told: signal.Signals):
    """Row 9: what is under way ends in an error, another router serves in seconds, and the engines never notice."""
    async with aiohttp.ClientSession() as http:
        with over(engine) as router:
            asking = await begun(http, router, streamed=streamed)
            psutil.Process(router.pid).send_signal(told)
            with pytest.raises((aiohttp.ClientError, ValueError)) as caught:
                await asyncio.wait_for(asking, SECONDS)
            if told == signal.SIGTERM:
                assert "The router is stopping" in str(caught.value)
        with over(engine) as router:
            body = {"prompt": "1000", "max_tokens": 3, "stream": streamed}
            assert await asyncio.wait_for(answer(http, router.url, body), SECONDS) == (" 1001 1002 1003", "length")
    assert engine.process.poll() is None
