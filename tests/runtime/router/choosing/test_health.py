"""An engine that hangs is out by its deadline, stays out longer each time, and nobody's request finds out how it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.router.choosing.health import PROBATION_S, ReplicaHealth
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.router.carrying.test_faults import ask
from tests.runtime.routing import Clock, routes_document, routing

FIRST_PAIR = [("p0", "d0", 0.9, "int4"), ("p1", "d1", 0.1, "int4")]


@asynccontextmanager
async def mute() -> AsyncIterator[FakeEngine]:
    """An engine that accepts connections and never says anything, to probes neither."""
    engine = FakeEngine()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine.arrived.set()
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        engine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield engine


async def out(router) -> dict[str, str]:
    """The replicas that are ejected, and why."""
    replicas = (await router.observed())["replicas"]
    return {replica["id"]: replica["reason"] for replica in replicas if not replica["healthy"]}


async def test_a_mute_engine_is_out_by_the_deadline_of_a_probe(tmp_path: Path):
    settings = RouterSettings(probe_every_s=0.01, probe_timeout_s=0.5)
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d"), "p1": FakeEngine("p")}
    async with serving(*engines.values()), mute() as silent:
        document = routes_document({**engines, "d1": silent}, FIRST_PAIR)
        async with routing(tmp_path, document, probing=True, settings=settings) as router:
            async with asyncio.timeout(20):
                while "d1" not in (found := await out(router)):
                    await asyncio.sleep(0.01)
            assert found["d1"] == "/health did not answer in 0.5 s"
            for _ in range(4):
                assert await ask(router, True) == " d1 d2 d3"


async def test_an_answer_that_comes_whole_may_take_longer_than_a_stream_may_take_to_begin(tmp_path: Path):
    """Replicas that are given long answers to write are not out for it, one after another."""
    settings = RouterSettings(first_byte_s=0.1)
    engines = {name: FakeEngine(name, hang=True) for name in ("d0", "d1")}
    routes = [(name, name, 0.5, "local") for name in engines]
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, routes), settings=settings) as router,
    ):
        asking = asyncio.create_task(ask(router, False))
        done, _ = await asyncio.wait({asking}, timeout=0.5)
        assert not done
        for engine in engines.values():
            engine.released.set()
        assert (await asking).endswith("3")
        assert await out(router) == {}
    assert sum(len(engine.seen) for engine in engines.values()) == 1


async def test_what_fails_again_right_after_it_came_back_is_out_twice_as_long():
    """Its engine hangs, and its server answers probes all the same."""
    clock = Clock()
    health = ReplicaHealth(clock)
    lasted = []
    for _ in range(5):
        health.failed("d0", "did not answer in time")
        start = clock.seconds
        while not health.is_up("d0"):
            clock.seconds += 1
            health.answered("d0")
        lasted.append(clock.seconds - start)
        clock.seconds += PROBATION_S - 1
    assert lasted == [5, 10, 20, 40, 60]


async def test_where_requests_wait_for_it_the_first_probe_that_succeeds_brings_it_back_but_not_after_a_relapse():
    """It fails at 0, a probe fails at 5, it is well at 6: it would be out until 15, and what waits gives up at 10."""
    clock = Clock()
    health = ReplicaHealth(clock)
    health.failed("d0", "refused")
    clock.seconds += 5
    health.failed("d0", "refused")
    clock.seconds += 1
    assert (health.due("d0"), health.due("d0", waited_for=True)) == (False, True)
    health.answered("d0")
    assert not health.is_up("d0")
    health.answered("d0", waited_for=True)
    assert health.is_up("d0")
    health.failed("d0", "its engine hangs, and its server answers probes")
    health.answered("d0", waited_for=True)
    assert not health.is_up("d0")
    clock.seconds += 20
    health.failed("d0", "a probe found it so, too")
    assert not health.due("d0", waited_for=True)


async def test_what_fails_after_it_has_been_well_for_a_while_begins_anew():
    clock = Clock()
    health = ReplicaHealth(clock)
    for _ in range(3):
        health.failed("d0", "refused")
        clock.seconds += 5
        health.answered("d0")
        assert health.is_up("d0")
        clock.seconds += PROBATION_S


async def test_a_replica_at_another_address_has_no_past():
    clock = Clock()
    health = ReplicaHealth(clock)
    health.failed("d0", "refused")
    clock.seconds += 5
    health.answered("d0")
    health.keep([])
    health.failed("d0", "refused")
    clock.seconds += 5
    health.answered("d0")
    assert health.is_up("d0")
