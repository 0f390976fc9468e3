"""The router's HTTP towards clients, bytes in and bytes out, on asyncio's own loop and on uvloop."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from runtime.listening import bound_socket
from runtime.router import web
from runtime.router.settings import RouterSettings
from runtime.router.web.connection import ClientConnection
from runtime.router.web.reading import RequestReader, Unreadable
from runtime.router.web.request import UNREAD_LIMIT
from thunderctl.keys.certificates import ensure_authority, issue

SETTINGS = RouterSettings(max_body_bytes=100_000)
ONE_READ = 256 * 1024
"""What a loop reads of a socket at a time, at most."""
HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Seen:
    """What a server was asked, and a door that its handler waits at where a test says so."""

    paths: list[str] = field(default_factory=list)
    cancelled: int = 0
    door: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[ClientConnection] = field(default_factory=set)


def answering(seen: Seen) -> web.Dispatch:
    async def echo(request: web.Request) -> web.Response:
        try:
            return web.Response(body=await request.read())
        except web.BodyTooLarge:
            return web.Response(status=413)
        except web.BodyUnreadable:
            return web.Response(status=400)

    async def wait(_: web.Request) -> web.Response:
        seen.asked.set()
        try:
            await seen.door.wait()
        except asyncio.CancelledError:
            seen.cancelled += 1
            raise
        return web.Response(body=b"waited")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.prepare(request)
        for piece in (b"one", b"", b"two"):
            response.write(piece)
        return response

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=401)

    async def fail(_: web.Request) -> web.Response:
        raise KeyError("secret")

    async def unknown(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async def split(_: web.Request) -> web.Response:
        return web.Response(headers={"X-Injected": "one\r\nSet-Cookie: two"})

    routes = [
        ("POST", "/echo", echo), ("GET", "/wait", wait), ("GET", "/stream", stream), ("POST", "/refuse", refuse),
        ("GET", "/fail", fail), ("GET", "/split", split),
    ]  # fmt: skip
    return web.Dispatch(routes, unknown)


def played(
    loop: str,
    play: Callable[[Seen, "Client"], Awaitable[None]],
    settings: RouterSettings = SETTINGS,
    most_connections: int = 100,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Let a test play a client before a server of its own, on a loop."""

    async def main() -> None:
        seen = Seen()
        find = answering(seen)

        async def handle(request: web.Request) -> web.StreamResponse:
            seen.paths.append(request.path)
            return await find.handler(request)(request)

        def refuse(status: int, message: str) -> web.Response:
            return web.Response(status=status, body=message.encode())

        server = web.Server(handle, settings, most_connections=most_connections, refuse=refuse, on_head=lambda *_: None)
        bound = bound_socket("127.0.0.1", 0)
        await server.listen(bound, tls)
        seen.connections = server.connections
        client = Client(bound)
        try:
            async with asyncio.timeout(20):
                await play(seen, client)
        finally:
            client.close()
            await server.close(0.1)
        assert not server.connections

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@dataclass
class Client:
    """Says bytes on one connection, and hears what comes back."""

    bound: socket.socket
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def say(self, *pieces: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection(*self.bound.getsockname())
        self.writers.append(writer)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return reader

    async def ask(self, context: ssl.SSLContext) -> bytes:
        """What is answered over TLS; nothing where the handshake is not let through."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(*self.bound.getsockname(), ssl=context, server_hostname="x")
            self.writers.append(writer)
            writer.write(HEAD + CLOSE + b"Content-Length: 2\r\n\r\nhi")
            return await reader.read()
        return b""

    async def hear(self, *pieces: bytes) -> bytes:
        """All that comes back until the server closes."""
        return await (await self.say(*pieces)).read()

    def close(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.close()


CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (HEAD + CLOSE + b"Content-Length: 5\r\n\r\nhello", 200, b"hello"),
        (HEAD + CLOSE + CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n", 200, b"hello"),
        (b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"POST http://x/echo?q=1 HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"Content-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"POST /%65cho HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"Content-Length: 2\r\n\r\nhi", 200, b"hi"),
        (HEAD + CLOSE + b"Content-Length: 100001\r\n\r\n", 413, b""),
        (HEAD + UPGRADE + CLOSE + b"Content-Length: 4\r\n\r\nabcd", 200, b"abcd"),
        (HEAD + UPGRADE + CLOSE + CHUNKED + b"4\r\nabcd\r\n0\r\n\r\n", 200, b"abcd"),
        (HEAD + UPGRADE + b"Content-Length: 2\r\n" + CHUNKED + b"0\r\n\r\n", 400, None),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n" + UPGRADE + b"\r\n", 400, None),
        (HEAD + CLOSE + CHUNKED + b"1\r\n{\r\nnonsense\r\n", 400, b""),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", 400, None),
        (HEAD + b"Expect: nonsense\r\nContent-Length: 2\r\n" + CLOSE + b"\r\nhi", 417, None),
        (b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n", 500, b"The router failed at this request."),
        (b"GET /split HTTP/1.1\r\nHost: x\r\n\r\n", 500, None),
        (b"GET /other HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n", 404, b""),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, None),
    ],
)  # fmt: skip
def test_what_is_asked_and_what_is_answered(loop, said, status, body):
    async def play(_: Seen, client: Client) -> None:
        head, _, found = (await client.hear(said)).partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert body is None or found == body
        assert head.lower().count(b"content-length: %d" % len(found)) == 1

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stream_goes_in_chunks_or_up_to_the_end_of_the_connection(loop):
    async def play(_: Seen, client: Client) -> None:
        chunked = await client.hear(b"GET /stream HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
        assert chunked.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        assert (await client.hear(b"GET /stream HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nonetwo")
        head = await client.hear(b"HEAD /stream HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_requests_that_come_before_an_answer_are_answered_in_turn(loop):
    async def play(_: Seen, client: Client) -> None:
        one = HEAD + b"Content-Length: 3\r\n\r\n"
        answers = await client.hear(
            b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + one + b"abc" + one + b"def" + b"junk\r\n\r\n"
        )
        found = [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 ")[1:]]
        assert found[:3] == [b"waited", b"abc", b"def"]
        assert answers.count(b"HTTP/1.1 400") == 1

    async def opened(seen: Seen, client: Client) -> None:
        seen.door.set()
        await play(seen, client)

    played(loop, opened)


@pytest.mark.parametrize("loop", LOOPS)
def test_too_many_of_them_end_the_connection(loop):
    async def play(seen: Seen, client: Client) -> None:
        seen.door.set()
        answers = await client.hear(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" * 20)  # few enough to be read at once
        assert answers.endswith(b"More than 16 requests were sent before an answer.")
        assert len(seen.paths) == answers.count(b"HTTP/1.1 200") == 16

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_would_rather_speak_another_protocol_is_answered_in_this_one_and_may_ask_again(loop):
    async def play(_: Seen, client: Client) -> None:
        one = HEAD + UPGRADE + b"Content-Length: 4\r\n\r\nabcd"
        answers = await client.hear(one * 2 + HEAD + CLOSE + b"Content-Length: 2\r\n\r\nef")
        assert [part.partition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 200 OK")[1:]] == [
            b"abcd", b"abcd", b"ef",
        ]  # fmt: skip

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_beyond_the_most_connections_the_one_longest_free_goes_and_then_the_new_one(loop):
    async def play(seen: Seen, client: Client) -> None:
        ask = HEAD + b"Content-Length: 1\r\n\r\n"
        first, second = await client.say(ask + b"a"), await client.say(ask + b"b")
        await second.readuntil(b"b")
        await first.readuntil(b"a")
        client.writers[0].write(ask + b"c")  # it has been free for less long than the second
        await first.readuntil(b"c")
        third = await client.say(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await second.read() == b""
        client.writers[0].write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        while len(seen.paths) < 5:
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionResetError):
            assert await (await client.say()).read() == b""
        seen.door.set()
        for reader in (first, third):
            await reader.readuntil(b"waited")

    played(loop, play, most_connections=2)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client who believes it."""
    folder = tmp_path_factory.mktemp("tls")
    ensure_authority(folder / "ca")
    issue(folder / "ca", "x", folder / "x")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "x" / "tls.crt", folder / "x" / "tls.key")
    return server, ssl.create_default_context(cafile=str(folder / "x" / "ca.crt"))


@pytest.mark.parametrize("loop", LOOPS)
def test_who_shakes_hands_has_a_place_until_that_is_over(loop, contexts):
    """Mute callers take all there are; when one has gone there is one again."""
    tls, trusting = contexts

    async def play(seen: Seen, client: Client) -> None:
        assert (await client.ask(trusting)).endswith(b"\r\n\r\nhi")
        mute = [await client.say() for _ in range(2)]
        assert await client.ask(trusting) == b""
        assert not any(reader.at_eof() for reader in mute)
        client.writers[1].close()
        while not await client.ask(trusting):
            await asyncio.sleep(0.01)
        assert seen.paths == ["/echo", "/echo"]

    played(loop, play, most_connections=2, tls=tls)


@pytest.mark.parametrize("loop", LOOPS)
def test_half_a_head_is_not_waited_for_as_long_as_a_request_is(loop):
    async def play(_: Seen, client: Client) -> None:
        idle = await client.say(HEAD + b"Content-Length: 1\r\n\r\na")
        await idle.readuntil(b"a")
        assert await client.hear(HEAD) == b""
        client.writers[0].write(HEAD + CLOSE + b"Content-Length: 1\r\n\r\nb")
        assert (await idle.read()).endswith(b"\r\n\r\nb")

    played(loop, play, RouterSettings(head_s=0.1, client_idle_s=60))


@pytest.mark.parametrize("loop", LOOPS)
def test_who_goes_takes_the_handler_along(loop):
    async def play(seen: Seen, client: Client) -> None:
        await client.say(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await seen.asked.wait()
        client.close()
        while not seen.cancelled:
            await asyncio.sleep(0.01)

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_waits_to_be_told_is_told_to_go_on_once(loop):
    async def play(_: Seen, client: Client) -> None:
        reader = await client.say(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (b"he", b"ll"):
            client.writers[-1].write(piece)
            await client.writers[-1].drain()
        assert (await reader.readuntil(b"hell")).startswith(b"HTTP/1.1 200 OK\r\n")

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_body_that_nobody_wants_is_not_taken_and_the_refusal_is_read_all_the_same(loop):
    """The client writes more than all buffers hold, and then reads."""

    async def play(_: Seen, client: Client) -> None:
        reader, writer = await asyncio.open_connection(*client.bound.getsockname())
        client.writers.append(writer)
        writer.write(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b"x" * 80_000)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401")
        assert CLOSE in answer

    played(loop, play)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("length", [30_000_000, 99_000_000], ids=["one that is taken", "one that is too large"])
def test_a_body_that_nobody_reads_yet_waits_with_its_client(loop, length: int):
    async def play(seen: Seen, client: Client) -> None:
        await client.say(b"GET /wait HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
        await seen.asked.wait()
        writer, sent = client.writers[-1], 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                for _ in range(length // 100_000):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
                    sent += 100_000
        assert sent < 20_000_000  # what kernels hold, of which loopback has large ones

    played(loop, play, RouterSettings())


@pytest.mark.parametrize("loop", LOOPS)
def test_bodies_that_come_before_an_answer_wait_with_their_client_too(loop):
    async def play(seen: Seen, client: Client) -> None:
        one = HEAD + b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000
        reader, writer = await asyncio.open_connection(*client.bound.getsockname())
        client.writers.append(writer)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + one * 15)
        await seen.asked.wait()
        (connection,) = seen.connections
        while not connection._is_paused:
            await asyncio.sleep(0)
        assert sum(len(request.unread) for request in connection._queue) < UNREAD_LIMIT + ONE_READ
        seen.door.set()
        for _ in range(15):
            await reader.readuntil(b"x" * 60_000)

    played(loop, play)


@given(st.lists(st.sampled_from([b"a", b"bc", b"d" * 300, b""]), min_size=1, max_size=6), st.data())
def test_however_the_bytes_are_cut_the_same_requests_are_read(bodies, data):
    said = b"".join(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(said) - 1), max_size=8)))
    found: list[web.Request] = []
    reader = RequestReader(None, found.append, line_limit=1000, body_limit=1000)  # type: ignore[arg-type]
    for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True):
        reader.feed(said[start:end])

    async def read() -> list[bytes]:
        return [await request.read() for request in found]

    assert asyncio.run(read()) == bodies
    assert asyncio.run(read()) == [b""] * len(bodies)  # none is kept for whom it was given to


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(said):
    assert outcome(said, said) in (0, 400, 413, 431)


@pytest.mark.parametrize(
    "begun",
    [b"GET /" + b"x" * 50, b"GET / HTTP/1.1\r\nX: " + b"y" * 50, HEAD + b"A: b\r\n" * 9],
    ids=["line", "field", "head"],
)
def test_a_head_without_end_is_refused(begun):
    assert outcome(begun, *[b"z" * 50] * 10) in (400, 431)


@pytest.mark.parametrize(
    "begun", [b"0\r\nX: ", b"2;", b"2\r\nhi\r\n0;x="], ids=["trailer", "extension", "extension of the last chunk"]
)
def test_what_stands_beside_a_body_in_chunks_comes_to_an_end(begun):
    """Where it does not it is refused long before it is as long as bodies may be."""
    said = b"POST /echo HTTP/1.1\r\n" + CHUNKED + begun
    assert outcome(said, *[b"z" * 50] * 5, body_limit=10_000) == 431


def test_chunks_of_a_byte_each_may_be_as_many_as_a_body_has():
    said = b"POST /echo HTTP/1.1\r\n" + CHUNKED
    assert outcome(said, *[b"1\r\nx\r\n"] * 90, b"0\r\n\r\n", body_limit=1000) == 0


def outcome(*pieces: bytes, body_limit: int = 100) -> int:
    """The status that bytes are refused with, 0 where they are read."""
    reader = RequestReader(None, lambda _: None, line_limit=40, body_limit=body_limit)  # type: ignore[arg-type]
    try:
        for piece in pieces:
            reader.feed(piece)
    except Unreadable as refused:
        return refused.status
    return 0
