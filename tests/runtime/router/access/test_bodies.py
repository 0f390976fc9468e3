"""Bodies: no more of them at once than there is room for, and what the administration is told of its own."""

import asyncio
import json
import tracemalloc
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runtime.router.access.bodies import held_by
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.router.surface.test_surface import error_of, say
from tests.runtime.routing import PAIR, TOKEN, routes_document, routing, soon

LOCAL = [("m0", "m0", 1.0, "local")]
PUT = b"PUT /admin/routes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_beyond_the_room_for_them_are_turned_away_until_others_are_answered(tmp_path: Path, chunked: bool):
    engine = FakeEngine("m0", hang=True)
    settings = RouterSettings(max_bodies_bytes=20_000)
    async with (
        serving(engine),
        routing(tmp_path, routes_document({"m0": engine}, LOCAL), settings=settings) as router,
    ):
        first = asyncio.create_task(router.post(prompt="x" * 6000))
        await soon(engine.arrived)
        body = json.dumps({"prompt": "y" * 6000}).encode()
        headers = {"Content-Type": "application/json"}

        async def pieces():
            yield body

        url, data = f"{router.url}/v1/completions", pieces() if chunked else body
        async with router.http.post(url, data=data, headers=headers) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert (await response.json())["error"]["code"] == "overloaded"
        engine.hang = False
        assert (await router.post(prompt="z" * 1000))[0] == 200
        engine.released.set()
        assert (await first)[0] == 200
        async with router.http.post(url, data=body, headers=headers) as response:
            assert response.status == 200
        assert (await router.observed())["requests"] == {"ok": 3, "shed": 1}


async def test_many_small_values_take_more_room_than_their_text(tmp_path: Path):
    settings = RouterSettings(max_bodies_bytes=20_000)
    engine = FakeEngine("m0")
    async with (
        serving(engine),
        routing(tmp_path, routes_document({"m0": engine}, LOCAL), settings=settings) as router,
    ):
        assert (await router.post(prompt="x" * 1200))[0] == 200
        assert (await router.post(prompt=[[]] * 300))[0] == 503


@pytest.mark.parametrize(
    "document",
    [
        {"prompt": "a text, of words" * 1000},
        {"prompt": "ein schöner Text " * 1000},
        {"prompt": list(range(50_000, 60_000))},
        {"messages": [{"role": "user", "content": "hello"}] * 2000},
        {"prompt": [[]] * 5000},
        {"prompt": [{"a": 1.5}] * 5000},
    ],
    ids=["text", "accents", "token ids", "messages", "lists", "objects"],
)
def test_what_a_body_is_counted_as_is_about_what_it_takes(document):
    body = json.dumps(document, ensure_ascii=False).encode()
    tracemalloc.start()
    parsed = json.loads(body)
    taken = tracemalloc.get_traced_memory()[0] + len(body)
    tracemalloc.stop()
    assert parsed == document
    assert taken < 1.5 * held_by(body)
    assert held_by(body) < 4 * taken


async def test_a_body_that_was_only_announced_takes_no_room(pair, tmp_path: Path):
    settings = RouterSettings(max_bodies_bytes=20_000)
    async with routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router:
        url = urlsplit(router.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n"
        writer.write(head)
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        writer.write(b"{")
        assert (await router.post(prompt="y" * 6000))[0] == 200
        writer.close()


async def test_a_token_in_no_encoding_is_wrong(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        head = b"GET /admin/observed HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \xff\r\n\r\n"
        assert (await say(router, head)).split()[1] == b"401"


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Length: 5000\r\n\r\n", 413),
        (b"Content-Length: 50\r\n\r\n{", 408),
        (b"Transfer-Encoding: chunked\r\n\r\nno length\r\n", 400),
        (b"Connection: close\r\nContent-Length: 3000\r\n\r\n" + b"[" * 3000, 400),
    ],
    ids=["too large", "too slow", "broken", "too deep"],
)
async def test_routes_that_do_not_come_are_refused_as_other_bodies_are(pair, tmp_path: Path, rest, status):
    settings = RouterSettings(max_body_bytes=4000, body_s=0.2)
    async with routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router:
        answer = await say(router, PUT + rest)
    assert int(answer.split()[1]) == status
    assert error_of(answer)["message"]


async def test_routes_that_can_not_be_written_leave_those_in_force(pair, tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runtime.router.choosing.epochs.write_json", full)
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        status, answer = await router.put(routes_document(pair, PAIR, epoch=2))
        assert (status, answer["error"]["code"]) == (507, "not_written")
        assert "No space left on device" in answer["error"]["message"]
        assert (await router.observed())["epoch"] == 1
