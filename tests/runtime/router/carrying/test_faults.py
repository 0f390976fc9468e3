"""What the router does when a leg fails or a client goes away: the kill matrix, with fakes that fail on demand."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web

from runtime.router.choosing.health import ReplicaHealth
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import MESSAGES, PAIR, Clock, routes_document, routing, soon

SQUARE = [("p0", "d0", 0.7, "int4"), ("p0", "d1", 0.1, "int4"), ("p1", "d0", 0.1, "int4"), ("p1", "d1", 0.1, "int4")]
BOTH_WAYS = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture
async def square():
    """Two prefill and two decode engines; the first requests go to p0 and d0."""
    engines = {name: FakeEngine(name) for name in ("p0", "p1", "d0", "d1")}
    async with serving(*engines.values()):
        yield engines


async def ask(router, streamed: bool, **extra) -> str:
    """The text that the official client gets."""
    async with router.openai as client:
        if not streamed:
            answer = await client.completions.create(model="tiny", prompt="hi", max_tokens=3, **extra)
            return answer.choices[0].text
        stream = await client.completions.create(model="tiny", prompt="hi", max_tokens=3, stream=True, **extra)
        return "".join([chunk.choices[0].text async for chunk in stream])


@BOTH_WAYS
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"break_after": 0}])
async def test_decode_fails_before_its_first_byte(square, tmp_path: Path, streamed: bool, fault):
    """Row 1: another decode replica gets the same ticket, and the client sees nothing."""
    for name, value in fault.items():
        setattr(square["d0"], name, value)
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        assert await ask(router, streamed) == " d11 d12 d13"
    assert square["d1"].decodes[0].transfer["ticket"] == "p0-1"
    assert len(square["p0"].seen) + len(square["p1"].seen) == 1


async def test_half_an_event_of_a_replica_that_failed_never_reaches_the_client(square, tmp_path: Path):
    square["d0"].break_after, square["d0"].torn = 0, True
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        assert await ask(router, True) == " d11 d12 d13"


async def test_a_torn_event_in_the_middle_of_a_stream_is_left_out(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", break_after=1, torn=True)}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        events = await router.events(prompt="hi", max_tokens=3)
    assert [list(json.loads(event.removeprefix("data: "))) for event in events] == [
        ["id", "object", "created", "model", "choices"],
        ["error"],
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_an_agent_that_turns_the_router_away_has_failed(square, tmp_path: Path, status: int):
    square["p0"].status = square["d0"].status = status
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        assert await ask(router, False) == " d11 d12 d13"


@BOTH_WAYS
async def test_decode_is_not_there(square, tmp_path: Path, streamed: bool):
    """Row 1 again, and after one refused connection nobody is sent there."""
    document = routes_document(square, SQUARE)
    document["replicas"][2]["url"] = "http://127.0.0.1:9"
    async with routing(tmp_path, document) as router:
        for _ in range(3):
            assert await ask(router, streamed) == " d11 d12 d13"
        seen = await router.observed()
    assert [replica["id"] for replica in seen["replicas"] if not replica["healthy"]] == ["d0"]
    assert [bool(request.transfer) for request in square["d1"].seen] == [True] * 3


async def test_decode_breaks_off_in_the_middle_of_a_stream(square, tmp_path: Path):
    """Row 2: never a bare end of stream. The official client raises."""
    square["d0"].break_after = 2
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        with pytest.raises(openai.APIError, match="d0 failed while it answered"):
            await ask(router, True)
        seen = await router.observed()
    assert seen["requests"] == {"interrupted": 1}


async def test_the_wire_after_a_broken_stream(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", break_after=1)}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        events = await router.events(prompt="hi", max_tokens=3)
    assert len(events) == 2
    assert events[0].startswith("data: {")
    assert events[1].startswith('data: {"error": {"message": "Replica d0 failed')


async def test_a_stream_that_ends_early_as_if_it_were_whole(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", silent_end=True)}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        events = await router.events(prompt="hi", max_tokens=3)
    assert events[-1].startswith('data: {"error": ')


@BOTH_WAYS
@pytest.mark.parametrize("fault", [{"status": 500}, {"break_after": 0}])
async def test_prefill_fails(square, tmp_path: Path, streamed: bool, fault):
    """Row 4: another prefill replica does it."""
    for name, value in fault.items():
        setattr(square["p0"], name, value)
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        assert (await ask(router, streamed)).endswith("3")
    assert [seen.transfer["ticket"] for name in ("d0", "d1") for seen in square[name].seen] == ["p1-1"]


@BOTH_WAYS
async def test_every_prefill_replica_fails(square, tmp_path: Path, streamed: bool):
    """Row 8: decode prefills by itself."""
    square["p0"].status = square["p1"].status = 503
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        assert (await ask(router, streamed)).endswith("3")
    assert [seen.transfer for name in ("d0", "d1") for seen in square[name].seen] == [{}]


async def test_decode_hangs_in_the_middle_of_a_stream(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", drip=True)}
    settings = RouterSettings(idle_s=0.05)
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, PAIR), settings=settings) as router,
    ):
        events = await router.events(prompt="hi", max_tokens=3)
    assert events[-1].startswith('data: {"error": ')


@dataclass
class Patient(FakeEngine):
    """Counts the probes to which it said that it is not well."""

    unwell: int = 0

    async def _health(self, request: web.Request) -> web.Response:
        self.unwell += not self.healthy
        return await super()._health(request)


PROBING = RouterSettings(probe_every_s=0.01, probe_timeout_s=1.0)
"""A replica's silence is real time, so these tests take 1 s. With less, a busy host ejects the healthy ones too."""


async def hung(engine: FakeEngine, asking: "asyncio.Task", clock: Clock) -> None:
    """Let time pass until a request on an engine that hangs has its answer."""
    await soon(engine.arrived)
    engine.healthy = False
    async with asyncio.timeout(30):
        while not asking.done():
            clock.seconds += 5
            await asyncio.sleep(0.02)
    await soon(engine.cancelled)


@BOTH_WAYS
async def test_what_waits_for_a_replica_that_fails_two_probes_is_moved(square, tmp_path: Path, streamed: bool):
    """Row 17: the engine accepts and never answers."""
    clock = Clock()
    square["d0"].hang = True
    options = {"probing": True, "settings": PROBING, "now": clock}
    async with routing(tmp_path, routes_document(square, SQUARE), **options) as router:
        asking = asyncio.create_task(ask(router, streamed))
        await hung(square["d0"], asking, clock)
        assert await asking == " d11 d12 d13"


async def test_what_waits_is_left_alone_while_no_replica_answers_probes(tmp_path: Path):
    """It may be the router that is cut off, and nobody else could take it."""
    clock = Clock()
    engines = {name: Patient(name, hang=True) for name in ("d0", "d1")}
    routes = [(name, name, 0.5, "local") for name in engines]
    options = {"probing": True, "settings": RouterSettings(probe_every_s=0.01, probe_timeout_s=0.2), "now": clock}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes), **options) as router:
        asking = [asyncio.create_task(ask(router, False)) for _ in engines]
        for engine in engines.values():
            await soon(engine.arrived)
            engine.healthy = False
        async with asyncio.timeout(30):
            while min(engine.unwell for engine in engines.values()) < 3:
                clock.seconds += 60
                await asyncio.sleep(0.25)  # longer than legs must have heard nothing
        for engine in engines.values():
            engine.released.set()
        assert sorted(await asyncio.gather(*asking)) == [" d01 d02 d03", " d11 d12 d13"]


async def test_a_stream_of_a_replica_that_fails_two_probes_ends_in_an_error(square, tmp_path: Path):
    clock = Clock()
    square["d0"].drip = True
    options = {"probing": True, "settings": PROBING, "now": clock}
    async with routing(tmp_path, routes_document(square, [("p0", "d0", 1.0, "int4")]), **options) as router:
        asking = asyncio.create_task(router.events(prompt="hi", max_tokens=3))
        await hung(square["d0"], asking, clock)
        assert "d0 failed while it answered" in (await asking)[-1]


@BOTH_WAYS
async def test_no_decode_replica_can_answer(square, tmp_path: Path, streamed: bool):
    square["d0"].status = square["d1"].status = 500
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(router, streamed)
    assert caught.value.status_code == 503
    assert caught.value.body["message"] == "No decode replica could answer; tried d0, d1."
    assert caught.value.response.headers["Retry-After"] == "1"


async def test_an_idle_connection_that_the_engine_gave_up_is_no_failure(tmp_path: Path):
    """What a keep-alive race looks like: the first request on a used connection meets its end."""
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d")}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        await ask(router, False)
        engines["d0"].break_next = True
        assert await ask(router, False) == " d1 d2 d3"
        seen = await router.observed()
    assert all(replica["healthy"] for replica in seen["replicas"])


@pytest.mark.parametrize("hanging", ["p0", "d0"])
@BOTH_WAYS
async def test_a_client_that_goes_away_cancels_the_leg_under_way(square, tmp_path: Path, hanging: str, streamed: bool):
    """Row 18."""
    square[hanging].hang = True
    async with routing(tmp_path, routes_document(square, [("p0", "d0", 1.0, "int4")])) as router:
        asking = asyncio.create_task(ask(router, streamed))
        await soon(square[hanging].arrived)
        asking.cancel()
        await soon(square[hanging].cancelled)
        await asyncio.gather(asking, return_exceptions=True)
        while not (seen := await router.observed())["requests"]:
            await asyncio.sleep(0)
    assert seen["requests"] == {"cancelled": 1}
    assert [replica["in_flight"] for replica in seen["replicas"]] == [0, 0, 0, 0]


async def test_a_client_that_goes_away_in_the_middle_of_a_stream_cancels_decode(square, tmp_path: Path):
    square["d0"].drip = True
    async with routing(tmp_path, routes_document(square, [("p0", "d0", 1.0, "int4")])) as router:
        async with router.http.post(f"{router.url}/v1/completions", json={"prompt": "hi", "stream": True}) as response:
            await response.content.readuntil(b"\n\n")
            response.close()
        await soon(square["d0"].cancelled)


async def test_a_router_that_stops_ends_its_streams_in_an_error(tmp_path: Path):
    """Row 9."""
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", drip=True)}
    settings = RouterSettings(stop_grace_s=0.01)
    async with serving(*engines.values()), aiohttp.ClientSession() as http:
        async with routing(tmp_path, routes_document(engines, PAIR), settings=settings) as router:
            response = await http.post(f"{router.url}/v1/completions", json={"prompt": "hi", "stream": True})
            await response.content.readuntil(b"\n\n")
        assert (await response.read()).startswith(b'data: {"error": ')
        await soon(engines["d0"].cancelled)


async def test_a_router_that_stops_lets_requests_finish_within_the_grace(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", drip=True)}
    async with serving(*engines.values()), aiohttp.ClientSession() as http:
        async with routing(tmp_path, routes_document(engines, PAIR)) as router:
            response = await http.post(f"{router.url}/v1/completions", json={"prompt": "hi", "stream": True})
            await response.content.readuntil(b"\n\n")
            asyncio.get_running_loop().call_soon(engines["d0"].released.set)
        assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_a_deadline_that_passes_while_the_router_stops_is_a_deadline(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", hang=True)}
    settings = RouterSettings(deadline_s=0.3)
    async with serving(*engines.values()), aiohttp.ClientSession() as http:
        async with routing(tmp_path, routes_document(engines, PAIR), settings=settings) as router:
            asking = asyncio.create_task(http.post(f"{router.url}/v1/completions", json={"prompt": "hi"}))
            await soon(engines["d0"].arrived)
        answer = await asking
        assert (answer.status, (await answer.json())["error"]["code"]) == (504, "deadline_exceeded")


async def test_an_ejected_replica_comes_back_after_a_good_probe():
    clock = Clock()
    health = ReplicaHealth(clock)
    health.failed("d0", "refused")
    assert (health.is_up("d0"), health.reason("d0"), health.due("d0")) == (False, "refused", False)
    health.answered("d0")
    assert not health.is_up("d0")
    clock.seconds += 5
    assert not health.is_up("d0")  # half open: a probe decides, not a client's request
    assert health.due("d0")
    health.answered("d0")
    assert health.is_up("d0")


async def test_an_ejection_doubles_with_every_bad_probe_up_to_a_minute():
    clock = Clock()
    health = ReplicaHealth(clock)
    lasted = []
    for _ in range(6):
        health.failed("d0", "refused")
        start = clock.seconds
        while not health.due("d0"):
            health.failed("d0", "refused by the way")
            clock.seconds += 1
        lasted.append(clock.seconds - start)
    assert lasted == [5, 10, 20, 40, 60, 60]


async def test_probing_finds_a_dead_engine_core_and_its_return(tmp_path: Path):
    """Row 16: the HTTP server lives, /health says 503."""
    clock = Clock()
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", healthy=False)}
    settings = RouterSettings(probe_every_s=0.01)
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, PAIR), probing=True, settings=settings, now=clock) as router,
    ):
        await until(router, 503)
        engines["d0"].healthy = True
        clock.seconds += 5
        await until(router, 200)


async def test_a_replica_that_moved_is_not_held_to_what_was_known_of_its_old_address(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", healthy=False)}
    settings = RouterSettings(probe_every_s=0.01)
    async with serving(*engines.values()):
        document = routes_document(engines, PAIR)
        async with routing(tmp_path, document, probing=True, settings=settings, now=Clock()) as router:
            await until(router, 503)
            fresh = FakeEngine("d")
            async with serving(fresh):
                assert (await router.put(routes_document({**engines, "d0": fresh}, PAIR, epoch=2)))[0] == 200
                await until(router, 200)


async def until(router, status: int) -> None:
    async with asyncio.timeout(10):
        while True:
            async with router.http.get(f"{router.url}/health") as response:
                if response.status == status:
                    return


async def test_a_chat_is_answered_while_everything_seems_down(tmp_path: Path):
    """A check that fails for everything is doubted first."""
    engines = {"p0": FakeEngine("p", healthy=False), "d0": FakeEngine("d", healthy=False)}
    settings = RouterSettings(probe_every_s=0.01)
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, PAIR), probing=True, settings=settings) as router,
        router.openai as client,
    ):
        await until(router, 503)
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=1)
        assert answer.choices[0].message.content == " d1"
