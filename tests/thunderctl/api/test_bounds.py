"""What callers can hold of the server: who sends nothing, little by little, too much or takes nothing holds nothing
for long, and keeps nobody out."""

import asyncio
import contextlib

import pytest

from tests.thunderctl.api.serving import BEARER, TOKEN, served
from thunderctl.api.bounds import BOUNDS, Bounds, Connection, Limits

HELLO = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LONG_S = 30.0


class Caller:
    """A connection by hand."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def say(self, text: bytes) -> None:
        self.writer.write(text)

    async def status(self) -> int:
        """Of the next answer, which is read to its end."""
        async with asyncio.timeout(LONG_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))
            await self.reader.readexactly(int(length.partition(":")[2]))
        return int(head.split()[1])

    async def end(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def is_over(self) -> bool:
        """Wait until the server ended it."""
        async with asyncio.timeout(LONG_S):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        return True


@pytest.fixture
async def calling(tmp_path):
    """Serves with these limits; gives what makes connections to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(**limits):
            api = await stack.enter_async_context(served(tmp_path, limits=Limits(**limits)))
            port = int(api.url.rpartition(":")[2])

            async def call() -> Caller:
                found = Caller(*await asyncio.open_connection("127.0.0.1", port))
                stack.push_async_callback(found.end)
                return found

            return api, call

        yield serve


async def test_who_says_nothing_is_let_go(calling):
    _, call = await calling(free_s=0.05)
    assert await (await call()).is_over()


async def test_a_head_that_comes_by_the_byte_is_not_waited_for(calling):
    _, call = await calling(free_s=0.2)
    slow = await call()

    async def drip():
        while True:
            slow.say(b"X")
            await asyncio.sleep(0.01)

    slow.say(b"GET / HTTP/1.1\r\nX-Slow: ")
    dripping = asyncio.ensure_future(drip())
    assert await slow.is_over()
    dripping.cancel()


async def test_a_connection_that_was_answered_and_is_left_open_ends(calling):
    _, call = await calling(free_s=0.2)
    one = await call()
    one.say(HELLO)
    assert await one.status() == 200
    assert await one.is_over()


async def test_one_that_asks_again_in_time_stays(calling):
    _, call = await calling(free_s=LONG_S)
    one = await call()
    for _ in range(3):
        one.say(HELLO)
        assert await one.status() == 200


async def test_a_body_that_does_not_come_is_a_408_and_the_end(calling):
    api, call = await calling(body_s=0.05)
    slow = await call()
    head = "POST /api/v1/rebalance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    slow.say(f"{head}Authorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n\r\n{{".encode())
    assert await slow.status() == 408
    assert await slow.is_over()
    assert api.source.told == []


async def test_a_body_that_is_too_large_is_a_413(calling):
    api, _ = await calling()
    said = await api.post("/api/v1/rebalance", {"workload": "x" * 100_000}, 413, BEARER)
    assert said["error"]["kind"] == "RequestEntityTooLarge"


@pytest.mark.parametrize("head", [b"X: " + b"y" * 5000, b"\r\n".join(b"X-%d: y" % n for n in range(100))])
async def test_a_head_that_is_too_large_is_a_400(calling, head):
    _, call = await calling()
    one = await call()
    one.say(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + head + b"\r\n\r\n")
    assert await one.status() == 400


async def test_in_a_crowd_who_is_new_is_heard_and_who_waited_longest_goes(calling):
    api, call = await calling(connections=8)
    crowd = [await call() for _ in range(8)]
    for one in crowd:
        one.say(HELLO)
        assert await one.status() == 200
    new = await call()
    new.say(HELLO)
    assert await new.status() == 200
    assert await crowd[0].is_over()
    crowd[1].say(HELLO)
    assert await crowd[1].status() == 200
    assert len(api.app[BOUNDS]) == 8


async def test_who_follows_what_is_live_is_never_sent_away_for_who_is_new(calling):
    api, call = await calling(connections=2, free_s=0.1)
    async with api.http.get(f"{api.url}/api/v1/live") as live:
        first = await live.content.readline()
        assert first.startswith(b"retry")
        for _ in range(5):
            other = await call()
            other.say(HELLO)
            assert await other.status() == 200
        await asyncio.sleep(0.3)  # far beyond what a free connection may last
        api.source.happens("step", "still told")
        async with asyncio.timeout(LONG_S):
            while b"still told" not in await live.content.readline():
                pass


async def test_where_all_are_busy_who_is_new_is_let_go(calling):
    api, call = await calling(connections=1)
    async with api.http.get(f"{api.url}/api/v1/live") as live:
        await live.content.readline()
        assert await (await call()).is_over()


async def test_connections_are_counted(calling):
    api, call = await calling()
    one = await call()
    one.say(HELLO)
    await one.status()
    async with api.http.get(f"{api.url}/metrics") as answer:
        assert "thunder_api_connections 2.0" in await answer.text()


async def test_the_address_with_the_most_connections_makes_room():
    """By hand: loopback has one address."""
    bounds = Bounds(Limits(connections=4))
    ended = []

    class Transport(asyncio.Transport):
        def __init__(self, address):
            super().__init__({"peername": (address, 1)})

        def abort(self):
            ended.append(self.get_extra_info("peername")[0])

    def came(address):
        Connection(bounds, asyncio.Protocol()).connection_made(Transport(address))

    for address in ("a", "b", "b", "b", "c", "d", "e"):
        came(address)
    assert ended == ["b", "b", "a"]
