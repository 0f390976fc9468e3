"""A client that takes nothing of its stream gives its place back; one that is slow, or waits for tokens, keeps it."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import Running, routes_document, routing, soon

LOCAL = [("d0", "d0", 1.0, "local")]
IDLE_S = 0.5
MORE_THAN_BUFFERS_HOLD = 20_000
SETTINGS = RouterSettings(client_idle_s=IDLE_S, send_buffer_bytes=4096)


@contextmanager
def deaf(router: Running) -> Iterator[socket.socket]:
    """A client that asks for a stream, and reads nothing unless it is told to."""
    host, port = router.url.removeprefix("http://").split(":")
    body = json.dumps({"prompt": "x", "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.setblocking(False)
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        yield client


async def read_all(client: socket.socket, pause_s: float = 0.0, size: int = 1 << 16) -> bytes:
    """What comes until the end, or as far as it comes by pieces with pauses between."""
    loop, found = asyncio.get_running_loop(), b""
    while piece := await loop.sock_recv(client, size):
        found += piece
        if found.endswith(b"0\r\n\r\n"):
            break
        await asyncio.sleep(pause_s)
    return found


async def test_who_reads_nothing_gives_its_place_back_and_reads_why(tmp_path: Path):
    engine = FakeEngine("d0", output_tokens=MORE_THAN_BUFFERS_HOLD)
    async with serving(engine):
        document = routes_document({"d0": engine}, LOCAL)
        document["replicas"][0]["max_requests"] = 1
        async with routing(tmp_path, document, settings=SETTINGS) as router:
            with deaf(router) as client:
                await soon(engine.arrived)
                assert (await router.post(prompt="y", max_tokens=2))[0] == 200  # it waited for the place
                seen = await router.observed()
                assert (seen["requests"], seen["in_flight_at"]) == ({"interrupted": 1, "ok": 1}, {})
                said = await read_all(client)
    assert f"Its client took nothing of it for {IDLE_S:g} s" in said.decode().split("data: ")[-1]


async def test_who_reads_slowly_misses_nothing(tmp_path: Path):
    engine = FakeEngine("d0", output_tokens=3000)
    async with serving(engine), routing(tmp_path, routes_document({"d0": engine}, LOCAL), settings=SETTINGS) as router:
        with deaf(router) as client:
            said = await read_all(client, pause_s=IDLE_S / 20, size=8192)
        assert (await router.observed())["requests"] == {"ok": 1}
    assert said.decode().count("data: {") == 3000


async def test_who_waits_for_tokens_is_waited_for(tmp_path: Path):
    engine = FakeEngine("d0", drip=True)
    async with serving(engine), routing(tmp_path, routes_document({"d0": engine}, LOCAL), settings=SETTINGS) as router:
        asking = asyncio.create_task(router.events(prompt="hi"))
        await soon(engine.arrived)
        await asyncio.sleep(3 * IDLE_S)
        engine.released.set()
        assert (await asking)[-1] == "data: [DONE]"
