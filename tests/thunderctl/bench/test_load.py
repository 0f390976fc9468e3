"""The streaming client: what it asks for, what it times, and what it makes of answers that are none."""

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from planner.errors import HostError
from thunderctl.bench.load import ask

EVENT = b'data: {"choices": [{"text": "x"}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def serve():
    """A server that answers with these pieces, `gap_s` apart: its base URL, and what it was asked."""
    runners, asked = [], []

    async def start(*pieces: bytes, status: int = 200, gap_s: float = 0.0) -> tuple[str, list[dict]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            asked.append(await request.json())
            response = web.StreamResponse(status=status, headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            with suppress(ConnectionError):
                for piece in pieces:
                    await response.write(piece)
                    await asyncio.sleep(gap_s)
            return response

        app = web.Application()
        app.router.add_post("/v1/completions", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_it_forces_the_number_of_tokens_and_times_the_first_and_the_last(serve):
    endpoint, asked = await serve(EVENT, EVENT, EVENT + DONE, gap_s=0.05)
    answer = await ask(endpoint, "m", [5, 6, 7], 3)
    assert {key: asked[0][key] for key in ("prompt", "max_tokens", "min_tokens", "ignore_eos", "stream")} == {
        "prompt": [5, 6, 7],
        "max_tokens": 3,
        "min_tokens": 3,
        "ignore_eos": True,
        "stream": True,
    }
    assert 0 < answer.ttft_s < answer.last_s - 0.08
    assert answer.tpot_s == pytest.approx((answer.last_s - answer.first_s) / 2)


async def test_a_server_on_a_unix_socket_is_asked_there_with_whatever_fields_are_given(tmp_path):
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.Response(body=EVENT + DONE)

    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    more = {"kv_transfer_params": {"ticket": "t"}}
    found = await ask("http://engine/v1", "m", [5], 1, more=more, socket=str(tmp_path / "engine.sock"))
    await runner.cleanup()
    assert found.tokens == 1
    assert asked[0]["kv_transfer_params"] == {"ticket": "t"}


async def test_marks_that_come_in_two_pieces_are_seen(serve):
    whole = EVENT * 2 + DONE
    cut = len(EVENT) + 3
    endpoint, _ = await serve(whole[:cut], whole[cut:-9], whole[-9:], gap_s=0.02)
    answer = await ask(endpoint, "m", [5], 2)
    assert answer.last_s > answer.first_s


async def test_one_token_has_no_tpot(serve):
    endpoint, _ = await serve(EVENT + DONE)
    assert (await ask(endpoint, "m", [5], 1)).tpot_s == 0.0


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((EVENT, EVENT), 200),
        ((b'{"error": {"message": "too long"}}',), 400),
        ((b'data: {"error": {"message": "core died"}}\n\n',), 200),
        ((), 200),
    ],
)
async def test_an_answer_that_is_not_whole_is_an_error_with_its_end(serve, pieces, status):
    endpoint, _ = await serve(*pieces, status=status)
    with pytest.raises(HostError, match="did not finish an answer of 2 tokens"):
        await ask(endpoint, "m", [5], 2)


async def test_what_is_no_http_is_an_error():
    async def shout(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HELLO\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server:
        with pytest.raises(HostError, match="no HTTP"):
            await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", "m", [5], 2)


async def test_nobody_there_is_an_error(unused_tcp_port):
    with pytest.raises(HostError, match="gave no answer"):
        await ask(f"http://127.0.0.1:{unused_tcp_port}/v1", "m", [5], 2)


async def test_it_does_not_wait_for_ever(serve):
    endpoint, _ = await serve(EVENT, EVENT, gap_s=5.0)
    with pytest.raises(HostError, match="took too long"):
        await ask(endpoint, "m", [5], 2, within_s=0.1)
