"""Words of a prompt never reach the log, or what the administration is told, whatever an engine says of them."""

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web

from runtime.router.surface.errors import error_kind
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import MESSAGES, PAIR, routes_document, routing
from tests.runtime.token_engine import TokenEngine

SECRET = "my diagnosis is"


@pytest.mark.parametrize("status", [403, 500, 502, 503])
async def test_what_an_engine_says_of_a_request_that_it_fails(tmp_path: Path, caplog, status: int):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", status=status, error=f"can't serve {SECRET!r}")}
    caplog.set_level(logging.DEBUG)
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        assert (await router.post(prompt=SECRET))[0] == 503
        assert SECRET not in str(await router.observed())
    assert f"answered {status} ({status})" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "said",
    [
        b"%b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n%b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
    ],
    ids=["first line", "header", "content-length", "chunk's length"],
)
async def test_what_one_says_that_is_no_http(tmp_path: Path, caplog, said: bytes):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(said % SECRET.encode())
        writer.close()

    caplog.set_level(logging.DEBUG)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as engine:
        fake = FakeEngine("d", url=f"http://127.0.0.1:{engine.sockets[0].getsockname()[1]}")
        async with routing(tmp_path, routes_document({"d0": fake}, [("d0", "d0", 1.0, "local")])) as router:
            status, document = await router.post(prompt="hi")
            assert status == 503
            assert SECRET not in str(document) + str(await router.observed())
    assert "the answer is no HTTP" in caplog.text
    assert SECRET not in caplog.text


async def test_what_one_says_instead_of_the_text_of_tokens(tmp_path: Path, caplog, monkeypatch):
    engines = {name: TokenEngine(name, break_after=3 if name == "d0" else None) for name in ("p0", "d0", "d1")}

    async def detokenize(*_: object) -> web.Response:
        return web.json_response({"said": SECRET})

    monkeypatch.setattr(TokenEngine, "_detokenize", detokenize)
    caplog.set_level(logging.DEBUG)
    async with (
        serving(*engines.values()),
        routing(tmp_path, routes_document(engines, [*PAIR, ("p0", "d1", 1e-6, "int4")])) as router,
    ):
        body = {"messages": MESSAGES, "stream": True}
        async with router.http.post(f"{router.url}/v1/chat/completions", json=body) as response:
            await response.read()
    assert "gave no text for tokens" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}', " (BadRequestError, 400)"),
        (b'{"object":"error","message":"m","type":"replica_unavailable"}', " (replica_unavailable)"),
        (b'{"error":{"type":"what you said","code":"' + b"x" * 41 + b'"}}', ""),
        (b'{"error":"secret"}', ""),
        (b'["secret"]', ""),
        (b"[" * 10_000, ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_an_error_goes_by_its_type_and_code(body: bytes, kind: str):
    assert error_kind(body) == kind
