"""The port outlives the process that serves on it, and nothing outlives who holds the port."""

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import psutil
import pytest

from runtime.router import supervisor
from runtime.router.supervisor import Supervisor
from tests.fakes import FakeEngine, serving
from tests.runtime.router.processes import router_process
from tests.runtime.routing import routes_document
from tests.runtime.supervising import wait_for

ROUTE = [("m0", "m0", 1.0, "local")]


@pytest.fixture
async def engine(tmp_path):
    async with serving(engine := FakeEngine("m")):
        (tmp_path / "routes.json").write_text(json.dumps(routes_document({"m0": engine}, ROUTE)))
        yield engine


@pytest.fixture
async def router(engine, tmp_path):
    assert engine.url
    with router_process(tmp_path) as process:
        await asyncio.to_thread(wait_for, (tmp_path / "router.json").exists)
        yield process


def state_in(folder: Path):
    return json.loads((folder / "router.json").read_text())


def who_serves(router) -> psutil.Process:
    (serving,) = psutil.Process(router.pid).children()
    return serving


async def asked(http: aiohttp.ClientSession, port: int) -> int:
    async with http.post(f"http://127.0.0.1:{port}/v1/completions", json={"prompt": "hi"}) as response:
        await response.read()
        return response.status


async def test_who_comes_while_no_router_lives_waits_and_is_answered(router, tmp_path):
    state, first = state_in(tmp_path), who_serves(router)
    assert (state["pid"], first.pid != router.pid) == (router.pid, True)
    async with aiohttp.ClientSession() as http:
        assert await asked(http, state["port"]) == 200
    first.suspend()  # nobody accepts: what comes now is in the port's queue as it dies
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        under_way = [asyncio.create_task(asked(http, state["port"])) for _ in range(20)]
        await asyncio.to_thread(wait_for, lambda: waiting_at(state["port"]) == 20)
        first.kill()
        assert await asyncio.gather(*under_way) == [200] * 20
    assert who_serves(router).pid != first.pid
    after = state_in(tmp_path)
    assert [after[key] for key in ("pid", "port", "deaths")] == [router.pid, state["port"], state["deaths"] + 1]


def waiting_at(port: int) -> int:
    """Connections to a port that nobody has accepted."""
    found = psutil.net_connections("tcp4")
    return sum(1 for one in found if one.pid is None and one.laddr.port == port and one.status == "ESTABLISHED")


async def test_nobody_serves_on_when_its_holder_is_killed(router, tmp_path):
    serving = who_serves(router)
    os.kill(router.pid, signal.SIGKILL)
    await asyncio.to_thread(serving.wait, 10)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await asked(http, state_in(tmp_path)["port"])


async def test_it_may_die_again_and_again_and_is_still_told_to_stop(router):
    for _ in range(3):
        serving = who_serves(router)
        serving.kill()
        await asyncio.to_thread(wait_for, lambda gone=serving: gone.pid not in map(id_of, children_of(router)))
        await asyncio.to_thread(wait_for, lambda: bool(children_of(router)))
    await asyncio.to_thread(wait_for, lambda: bool(children_of(router)))
    router.terminate()
    assert await asyncio.to_thread(router.wait, 10) in (0, 128 + signal.SIGTERM)
    assert psutil.pid_exists(serving.pid) is False


def children_of(router) -> list[psutil.Process]:
    return psutil.Process(router.pid).children()


def id_of(process: psutil.Process) -> int:
    return process.pid


async def test_what_keeps_it_from_beginning_is_said_once(tmp_path):
    with router_process(tmp_path) as process:
        said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 2
    assert said.count("routes.json") == 1


@pytest.fixture
def kept_signals():
    kept = {number: signal.getsignal(number) for number in supervisor.HANDED_ON}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("kept_signals")
@pytest.mark.parametrize(
    ("lives", "pauses"),
    [
        ([(-9, 1.0)] * 8 + [(0, 1.0)], [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        ([(-9, 1.0), (-11, 90.0), (-9, 1.0), (0, 9.0)], [0.1, 0.05, 0.1]),
        ([(1, 9.0), (1, 1.0)], [0.1]),
        ([(2, 1.0)], []),
    ],
)
def test_each_death_waits_longer_until_one_has_lived_for_a_while(lives, pauses, monkeypatch):
    """`lives`: the code that each one ended with, and the seconds it lived. The clock and the children are made up."""
    clock, slept, left = [0.0], [], list(lives)
    monkeypatch.setattr(Supervisor, "_fork", lambda _: 1)
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(supervisor.time, "sleep", slept.append)

    def waitpid(*_):
        code, lived_s = left.pop(0)
        clock[0] += lived_s
        return 1, -code if code < 0 else code << 8

    monkeypatch.setattr(supervisor.os, "waitpid", waitpid)
    with pytest.raises(SystemExit) as ended:
        Supervisor(lambda _: None).run()
    assert (ended.value.code, slept, left) == (lives[-1][0], pauses, [])
