"""The router's surface beside its answers: who may read what, what sockets may do, what of usage clients are told."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runtime.router.access.keys import KeyRing, new_key, write_keys
from runtime.router.settings import RouterSettings
from tests.fakes import serving
from tests.runtime.routing import PAIR, TOKEN, routes_document, routing
from tests.runtime.token_engine import TokenEngine

USAGE = {"stream": True, "stream_options": {"include_usage": True}}


async def say(router, *pieces: bytes) -> bytes:
    """What comes back on a connection until the router closes it."""
    url = urlsplit(router.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def error_of(answer: bytes) -> dict:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"x" * 9000 + b": y\r\n\r\n", 431),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    ],
)
async def test_a_head_that_can_not_be_read_is_refused_in_openais_form(pair, tmp_path: Path, head, status):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        answer = await say(router, head)
    assert int(answer.split()[1]) == status
    assert set(error_of(answer)) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "said",
    [[], [b"GET /health HT"], [b"GET /health HTTP/1.1\r\nHost: x\r\n", b"X-One: 1\r\n"]],
    ids=["nothing", "half a line", "half a head"],
)
async def test_a_connection_without_a_request_is_closed(pair, tmp_path: Path, said):
    settings = RouterSettings(client_idle_s=0.2)
    async with routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router:
        assert await say(router, *said) == b""


async def test_so_is_one_that_is_silent_after_a_request(pair, tmp_path: Path):
    settings = RouterSettings(client_idle_s=0.2)
    async with routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router:
        answer = await say(router, b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v1/mo")
    assert answer.count(b"HTTP/1.1 200 OK") == 1


async def test_a_request_that_is_being_answered_is_not_silence(pair, tmp_path: Path):
    pair["d0"].hang = True
    settings = RouterSettings(client_idle_s=0.05)
    async with routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await asyncio.wait([asking], timeout=0.3)
        pair["d0"].released.set()
        assert (await asking)[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "DELETE", "PATCH"])
async def test_other_methods_are_told_which_it_takes(pair, tmp_path: Path, method: str):
    async with (
        routing(tmp_path, routes_document(pair, PAIR)) as router,
        router.http.request(method, f"{router.url}/v1/completions") as response,
    ):
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_metrics_are_the_administrations_once_there_are_keys(pair, tmp_path: Path):
    key, text = new_key("alice", created_at=0.0)
    keys = KeyRing(tmp_path / "keys.json")
    async with routing(tmp_path, routes_document(pair, PAIR), keys=keys) as router:
        for step, expected in ((None, 200), ([key], 401)):
            if step is not None:
                write_keys(tmp_path / "keys.json", step)
            for said, status in ((None, expected), (text, expected), (TOKEN, 200)):
                headers = {"Authorization": f"Bearer {said}"} if said else {}
                async with router.http.get(f"{router.url}/metrics", headers=headers) as response:
                    assert response.status == status


async def told(router, body) -> dict:
    """The usage that a client is told: in an answer, or in the last event of a stream."""
    async with router.http.post(f"{router.url}/v1/completions", json=body) as response:
        text = (await response.read()).decode()
    if not body.get("stream"):
        return json.loads(text)["usage"]
    return json.loads(text.split("\n\n")[-3].removeprefix("data: "))["usage"]


@pytest.mark.parametrize(("routes", "cached"), [(PAIR, 4), ([("d0", "d0", 1.0, "local")], 6)])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_is_told_what_was_cached_where_its_prompt_was_computed(tmp_path, routes, cached, streamed):
    """A decode engine that was sent the KV calls all of the prompt cached."""
    engines = {"p0": TokenEngine("p0", cached=4), "d0": TokenEngine("d0", cached=6)}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes)) as router:
        usage = await told(router, {"prompt": "Say: ", **(USAGE if streamed else {})})
    assert usage["prompt_tokens_details"] == {"cached_tokens": cached}


async def test_and_still_is_when_others_took_up_its_stream(tmp_path: Path):
    engines = {"p0": TokenEngine("p0", cached=4), "d0": TokenEngine("d0", cached=5, break_after=3)}
    engines["d1"] = TokenEngine("d1", cached=6)
    routes = [("p0", "d0", 1.0, "int4"), ("p0", "d1", 1e-6, "int4")]
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes)) as router:
        usage = await told(router, {"prompt": "Say: ", **USAGE})
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]) == (5, {"cached_tokens": 4})
