"""Room for requests: how many go on at once, who waits, who is refused, when it is too late; and the access log."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from runtime.messages import Routes
from runtime.router.access.access import _give_up
from runtime.router.access.admission import Admission, Shed
from runtime.router.access.capacity import capacity_rps_of, limit_of
from runtime.router.choosing.epochs import Epoch
from runtime.router.settings import RouterSettings
from runtime.router.watching.access_log import AccessLog
from runtime.router.watching.observed import RequestRecord
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import MESSAGES, PAIR, Clock, routes_document, routing, soon


def admission(limit: int = 1, *, max_queued: int = 10, queue_s: float = 60.0, now=None) -> Admission:
    return Admission(lambda: limit, max_queued=max_queued, queue_s=queue_s, now=now or Clock())


async def line(door: Admission, *keys: str) -> list[asyncio.Task[None]]:
    """One waiter after the other, all in line when this returns."""
    tasks = []
    for key in keys:
        tasks.append(asyncio.create_task(door.enter(key)))
        await asyncio.sleep(0)
    return tasks


async def served(door: Admission, tasks: dict[str, asyncio.Task[None]]) -> list[str]:
    """The order in which those in line are let in, each leaving before the next."""
    order = []
    for _ in range(len(tasks)):
        door.leave()
        await asyncio.sleep(0)
        order += [name for name, task in tasks.items() if task.done() and name not in order]
    return order


async def test_as_many_as_there_is_room_for_go_at_once():
    door = admission(2)
    await door.enter("")
    await door.enter("")
    (third,) = await line(door, "")
    assert (door.in_flight, door.queued, third.done()) == (2, 1, False)
    door.leave()
    await third
    assert (door.in_flight, door.queued) == (2, 0)


async def test_keys_are_served_in_turn_whoever_asked_for_more():
    door = admission()
    await door.enter("")
    names = ["a1", "a2", "a3", "b1", "c1", "b2"]
    tasks = dict(zip(names, await line(door, *(name[0] for name in names)), strict=True))
    assert await served(door, tasks) == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_full_queue_refuses_the_key_that_has_most_in_it():
    door = admission(max_queued=3)
    await door.enter("")
    flood = await line(door, "flood", "flood", "flood")
    with pytest.raises(Shed, match="3 requests wait already: 1 requests are under way, and 1 can be at a time"):
        await door.enter("flood")
    (little,) = await line(door, "little")
    with pytest.raises(Shed):
        await flood[2]
    assert (door.queued, little.done()) == (3, False)
    await served(door, {"0": flood[0], "1": little, "2": flood[1]})
    assert [task.exception() for task in (flood[0], little, flood[1])] == [None] * 3


async def test_who_waits_too_long_is_refused():
    door = admission(queue_s=0.0)
    await door.enter("")
    with pytest.raises(Shed, match="It waited 0 s"):
        await door.enter("")
    assert (door.in_flight, door.queued) == (1, 0)


async def test_who_would_wait_too_long_is_refused_at_once_and_told_when_there_is_room():
    clock = Clock()
    door = admission(queue_s=20.0, now=clock)
    await door.enter("")
    tasks = await line(door, *[""] * 10)  # how fast others leave is not known yet
    for _ in range(8):
        clock.seconds += 5
        door.leave()
    tasks += await line(door, "", "")  # these come in after 15 and 20 s
    with pytest.raises(Shed, match="The wait would be 25 s") as refused:
        await door.enter("")
    assert refused.value.retry_after_s == 25
    (other,) = await line(door, "other")  # whose turn comes before those of the same key
    assert not other.done()
    door.close()
    await asyncio.gather(*tasks, other, return_exceptions=True)


async def test_who_goes_while_waiting_leaves_no_place_behind():
    door = admission()
    await door.enter("")
    gone, stays = await line(door, "", "")
    gone.cancel()
    await asyncio.sleep(0)
    door.leave()
    await stays
    assert (door.in_flight, door.queued) == (1, 0)


async def test_who_goes_as_it_is_let_in_passes_its_place_on():
    door = admission()
    await door.enter("")
    gone, stays = await line(door, "", "")
    door.leave()
    gone.cancel()
    await stays
    assert (door.in_flight, door.queued, gone.cancelled()) == (1, 0, True)


async def test_a_closed_door_refuses_those_in_line_too():
    door = admission()
    await door.enter("")
    (waiting,) = await line(door, "")
    door.close()
    for refused in (waiting, door.enter("")):
        with pytest.raises(Shed, match="stopping"):
            await refused
    door.leave()
    assert (door.in_flight, door.queued) == (0, 0)


@given(st.lists(st.sampled_from(["enter a", "enter b", "leave", "cancel", "less", "more"]), max_size=40))
def test_never_more_than_the_limit_and_nobody_is_forgotten(steps):
    async def play() -> None:
        limit = 3
        door = Admission(lambda: limit, max_queued=5, queue_s=60.0, now=Clock())
        tasks: list[asyncio.Task[None]] = []
        for step in steps:
            before = door.in_flight
            if step.startswith("enter"):
                tasks += await line(door, step[-1])
            elif step == "leave" and door.in_flight:
                door.leave()
            elif step == "cancel" and tasks:
                tasks[-1].cancel()
            elif step in ("less", "more"):
                limit = 1 if step == "less" else 4
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert door.in_flight <= max(limit, before)
            assert door.queued <= 5
        while door.in_flight:
            door.leave()
            await asyncio.sleep(0)
        assert door.queued == 0
        assert all(task.done() for task in tasks)
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(play())


def epoch_holding(**held: int) -> Epoch:
    fakes = {name: FakeEngine(name, url="http://x") for name in held}
    document = routes_document(fakes, [("p0", "d0", 1.0, "raw")])
    for entry in document["replicas"]:
        entry["max_requests"] = held[entry["id"]]
    return Epoch.of(Routes.from_json(document))


@pytest.mark.parametrize(
    ("held", "down", "limit"),
    [
        ({"p0": 3, "d0": 40, "d1": 20}, set(), 63),
        ({"p0": 3, "d0": 40, "d1": 20}, {"d0"}, 23),
        ({"p0": 3, "d0": 40, "d1": 20}, {"p0", "d0", "d1"}, 63),  # a check that fails for everything is doubted
        ({"p0": 3, "d0": 400}, set(), 100),
        ({"p0": 3, "d0": 0}, set(), 100),  # nobody said what it holds
    ],
)
def test_there_is_room_for_what_the_replicas_that_are_up_hold(held, down, limit):
    assert limit_of(epoch_holding(**held), lambda replica: replica not in down, 100) == limit


def bounded(engines, **held: int):
    document = routes_document(engines, PAIR)
    for entry in document["replicas"]:
        entry["max_requests"] = held[entry["id"]]
    return document


async def test_what_there_is_no_room_for_is_refused_before_it_costs_an_engine_anything(pair, tmp_path: Path):
    pair["d0"].hang = True
    settings = RouterSettings(max_queued=0)
    async with (
        routing(tmp_path, bounded(pair, p0=1, d0=1), settings=settings) as router,
        router.openai as client,
    ):
        asking = [asyncio.create_task(router.post(prompt="hi")) for _ in range(2)]
        while len(pair["d0"].seen) < 2:
            await asyncio.sleep(0)
        with pytest.raises(openai.InternalServerError) as refused:
            await client.chat.completions.create(model="tiny", messages=MESSAGES)
        assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
        assert refused.value.response.headers["retry-after"] == "1"
        assert len(refused.value.response.headers["x-request-id"]) == 32
        seen = await router.observed()
        assert (seen["admitted"], seen["queued"], seen["admission_limit"]) == (2, 0, 2)
        async with router.http.get(f"{router.url}/metrics") as response:
            assert "thunder_admission_limit 2.0" in await response.text()
        pair["d0"].released.set()
        assert [status for status, _ in await asyncio.gather(*asking)] == [200, 200]
        assert (await router.observed())["requests"] == {"shed": 1, "ok": 2}
    assert len(pair["p0"].seen) == 2


async def test_the_next_in_line_goes_on_when_one_is_over_and_its_wait_counts(pair, tmp_path: Path):
    clock = Clock()
    pair["d0"].hang = True
    log = AccessLog(tmp_path / "access.log")
    async with routing(
        tmp_path, bounded(pair, p0=1, d0=0), now=clock, access_log=log, settings=RouterSettings(max_in_flight=1)
    ) as router:
        first = asyncio.create_task(router.post(prompt="hi"))
        await soon(pair["d0"].arrived)
        second = asyncio.create_task(router.events(prompt="hi"))
        while (await router.observed())["queued"] == 0:
            await asyncio.sleep(0)
        clock.seconds += 3
        pair["d0"].released.set()
        assert (await first)[0] == 200
        assert (await second)[-1] == "data: [DONE]"
    lines = [json.loads(text) for text in log._path.read_text().splitlines()]
    assert [entry["queued_s"] for entry in lines] == [0.0, 3.0]
    assert lines[1]["ttft_s"] == 3.0


async def test_a_request_that_takes_too_long_ends_and_frees_its_engines(pair, tmp_path: Path):
    pair["d0"].hang = True
    async with routing(tmp_path, routes_document(pair, PAIR), settings=RouterSettings(deadline_s=0.3)) as router:
        status, answer = await router.post(prompt="hi")
        await soon(pair["d0"].cancelled)
        seen = await router.observed()
    assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")
    assert (seen["requests"], seen["admitted"], seen["failed"]) == ({"late": 1}, 0, 1)


async def test_a_stream_that_takes_too_long_says_so_at_its_end(pair, tmp_path: Path):
    pair["d0"].drip = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        url, headers = f"{router.url}/v1/completions", {"X-Request-Deadline-S": "0.3"}
        async with router.http.post(url, json={"prompt": "hi", "stream": True}, headers=headers) as response:
            text = (await response.read()).decode()
        await soon(pair["d0"].cancelled)
        pair["d0"].released.set()
    events = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    assert json.loads(events[0])["choices"][0]["text"] == " d1"
    assert "deadline of 0.3 s" in json.loads(events[-1])["error"]["message"]


@pytest.mark.parametrize(("outcome", "said"), [("", "late"), ("ok", "ok"), ("interrupted", "interrupted")])
async def test_a_deadline_ends_nothing_that_is_answered_already(outcome: str, said: str):
    """An error behind the end of an answer would be taken for the beginning of the next."""
    task, record = asyncio.create_task(asyncio.Event().wait()), RequestRecord(0.0, outcome=outcome)
    _give_up(task, record)
    assert (record.outcome, bool(task.cancelling())) == (said, said == "late")
    task.cancel()


@pytest.mark.parametrize("said", ["", "soon", "0", "-1", "nan"])
async def test_a_deadline_that_is_none_is_refused(pair, tmp_path: Path, said: str):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        url, headers = f"{router.url}/v1/completions", {"X-Request-Deadline-S": said}
        async with router.http.post(url, json={"prompt": "hi"}, headers=headers) as response:
            assert response.status == 400
    assert pair["p0"].seen == []


@asynccontextmanager
async def raw(router):
    host, port = router.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def two_at_a_time(engine: FakeEngine):
    document = routes_document({"m0": engine}, [("m0", "m0", 1, "local")])
    document["replicas"][0]["max_requests"] = 2
    return document


async def test_bodies_that_are_still_to_come_keep_nobody_out(tmp_path: Path):
    engine = FakeEngine("m")
    begun = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
    async with (
        serving(engine),
        routing(tmp_path, two_at_a_time(engine), settings=RouterSettings(queue_s=0.5)) as router,
        AsyncExitStack() as stack,
    ):
        for _ in range(4):
            read, write = await stack.enter_async_context(raw(router))
            write.write(begun)
            assert (await read.readline()).startswith(b"HTTP/1.1 100")
        assert (await router.post(prompt="hi"))[0] == 200


async def test_whose_wait_would_be_too_long_is_known_before_its_body_is_read():
    clock = Clock()
    door = admission(queue_s=2.0, now=clock)
    await door.enter("a")
    await line(door, *"bcdefghij")
    for _ in range(8):
        clock.seconds += 1
        door.leave()
    await line(door, "k", "l")
    with pytest.raises(Shed):
        door.check("m")


async def test_where_nothing_is_measured_the_plans_capacity_says_when_to_come_back():
    door = Admission(lambda: 1, max_queued=2, queue_s=60.0, capacity_rps=lambda: 0.25, now=Clock())
    assert door.retry_after_s() == 4
    await door.enter("a")
    await line(door, "b", "b")
    with pytest.raises(Shed) as refused:
        await door.enter("b")
    assert refused.value.retry_after_s == 12


@pytest.mark.parametrize(
    ("capacity", "down", "expected"),
    [
        ({"p0": 3.0, "d0": 2.0, "d1": 4.0}, (), 3.0),
        ({"p0": 9.0, "d0": 2.0, "d1": 4.0}, (), 6.0),
        ({"p0": 9.0, "d0": 2.0, "d1": 4.0}, ("d1",), 2.0),
        ({"p0": 9.0, "d0": 2.0, "d1": 4.0}, ("p0",), 6.0),
        ({"p0": 0.0, "d0": 0.0, "d1": 0.0}, (), 0.0),
    ],
)
def test_replicas_get_through_what_the_phase_does_that_has_less(capacity, down, expected):
    document = routes_document({name: FakeEngine(url="http://x") for name in capacity}, PAIR)
    for entry in document["replicas"]:
        entry["capacity_rps"] = capacity[entry["id"]]
    epoch = Epoch.of(Routes.from_json(document))
    assert capacity_rps_of(epoch, lambda replica: replica not in down) == expected


async def test_when_no_replica_can_answer_the_plan_says_when_to_come_back(pair, tmp_path: Path):
    document = routes_document(pair, PAIR)
    for entry in document["replicas"]:
        entry["capacity_rps"] = 0.2
    pair["d0"].status = 500
    async with (
        routing(tmp_path, document) as router,
        router.http.post(f"{router.url}/v1/completions", json={"prompt": "hi"}) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_a_body_that_does_not_come_holds_no_place(pair, tmp_path: Path):
    settings = RouterSettings(body_s=0.2)
    async with (
        routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router,
        raw(router) as (read, write),
    ):
        head = (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        write.write(head)
        assert (await read.readline()).startswith(b"HTTP/1.1 408")
        assert (await router.observed())["admitted"] == 0


async def test_a_header_that_is_too_long_is_refused(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router, raw(router) as (read, write):
        write.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n")
        assert (await read.readline()).startswith(b"HTTP/1.1 431")


@dataclass
class Endless(FakeEngine):
    """Streams as long as anybody takes it; says when nobody has for half a second, and how many bytes went."""

    sent: int = 0
    stalled: asyncio.Event = field(default_factory=asyncio.Event)

    async def _stream(self, request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        event = b'data: {"id": "x", "choices": [{"index": 0, "text": "' + b"w" * 10_000 + b'"}]}\n\n'
        while True:
            writing = asyncio.ensure_future(response.write(event))
            if not (await asyncio.wait([writing], timeout=0.5))[0]:
                self.stalled.set()
            await writing
            self.sent += len(event)
            await asyncio.sleep(0)


async def test_a_client_that_does_not_read_stops_its_engine_and_is_cut_off_at_its_deadline(tmp_path: Path):
    engine = Endless("m")
    document = routes_document({"m0": engine}, [("m0", "m0", 1, "local")])
    async with serving(engine):
        document["replicas"][0]["url"] = engine.url
        async with routing(tmp_path, document) as router, raw(router) as (_, write):
            write.transport.pause_reading()
            body = b'{"prompt": "hi", "stream": true}'
            head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            write.write(f"{head}X-Request-Deadline-S: 4\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await soon(engine.stalled)
            assert engine.sent < 32_000_000  # most of it in the kernel's buffers, of which loopback has large ones
            await soon(engine.cancelled)
            while (await router.observed())["admitted"]:
                await asyncio.sleep(0.05)
            assert (await router.observed())["requests"] == {"late": 1}


async def test_nor_does_it_keep_a_router_from_stopping(tmp_path: Path):
    engine = Endless("m")
    document = routes_document({"m0": engine}, [("m0", "m0", 1, "local")])
    settings = RouterSettings(stop_grace_s=0.01)
    async with serving(engine), AsyncExitStack() as stack:
        document["replicas"][0]["url"] = engine.url
        router = await stack.enter_async_context(routing(tmp_path, document, settings=settings))
        async with raw(router) as (_, write):
            write.transport.pause_reading()
            body = b'{"prompt": "hi", "stream": true}'
            head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            write.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await soon(engine.stalled)
            async with asyncio.timeout(10):
                await stack.aclose()


async def test_the_access_log_says_all_about_a_request_but_its_words(pair, tmp_path: Path):
    log = AccessLog(tmp_path / "access.log")
    async with routing(tmp_path, routes_document(pair, PAIR), access_log=log) as router:
        headers = {"X-Request-Id": "mine"}
        url, body = f"{router.url}/v1/completions", {"prompt": "the secret words", "max_tokens": 3}
        async with router.http.post(url, json=body, headers=headers) as response:
            assert response.status == 200
        pair["p0"].status, pair["p0"].error = 400, "the secret words are too many"
        assert (await router.post(prompt="the secret words"))[0] == 400
    text = (tmp_path / "access.log").read_text()
    first, second = (json.loads(entry) for entry in text.splitlines())
    assert {key: first[key] for key in ("request_id", "key", "path", "status", "outcome", "prefill", "decode")} == {
        "request_id": "mine",
        "key": None,
        "path": "/v1/completions",
        "status": 200,
        "outcome": "ok",
        "prefill": "p0",
        "decode": "d0",
    }
    assert (first["codec"], first["prompt_tokens"], first["output_tokens"]) == ("int4", 7, 3)
    assert 0 <= first["seconds"] < 60
    assert (second["status"], second["outcome"]) == (400, "refused")
    assert "secret" not in text
    assert " d1" not in text


async def test_the_access_log_is_rotated_and_four_old_ones_are_kept(tmp_path: Path):
    log = AccessLog(tmp_path / "access.log", rotate_bytes=10)
    for number in range(7):
        log.write({"number": number})
        log.flush()
    kept = {path.name: json.loads(path.read_text())["number"] for path in tmp_path.iterdir()}
    assert kept == {"access.log.1": 6, "access.log.2": 5, "access.log.3": 4, "access.log.4": 3}


async def test_lines_are_written_soon_and_a_disk_that_takes_none_stops_nothing(tmp_path: Path, capfdbinary, caplog):
    log = AccessLog(None)
    log.write({"number": 1})
    async with asyncio.timeout(10):
        while b'{"number":1}' not in capfdbinary.readouterr().err:
            await asyncio.sleep(0.05)
    log = AccessLog(tmp_path / "missing" / "access.log")
    log.write({"number": 1})
    log.flush()
    assert "1 lines of the access log are lost" in caplog.text
