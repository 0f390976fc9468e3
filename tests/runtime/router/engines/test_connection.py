"""The HTTP/1.1 that legs are made of: framing cut anywhere, connections kept or ended, deadlines."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Phase
from runtime.messages import ReplicaAddress
from runtime.router.engines.connection import Broken, Connection
from runtime.router.engines.framing import Body, parse_head
from runtime.router.engines.leg import Leg, ReplicaFailed
from runtime.router.engines.pool import ConnectionPool
from runtime.router.engines.upstream import Upstream
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import Clock

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEADERS = {"Content-Type": "application/json"}
ASK = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_chunks_cut_anywhere_come_out_whole(pieces: list[bytes], sizes: list[int]):
    body, data, out, turn = Body(200, {"transfer-encoding": "chunked"}), chunked(*pieces), b"", 0
    while data:
        size = sizes[turn % len(sizes)]
        out, data, turn = out + body.feed(data[:size]), data[size:], turn + 1
    assert (out, body.ended) == (b"".join(pieces), True)


def test_chunk_extensions_and_trailers_are_left_out():
    body = Body(200, {"transfer-encoding": "chunked"})
    assert body.feed(b"3;name=value\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n") == b"abc"
    assert body.ended


@pytest.mark.parametrize("data", [b"x\r\n", b"-1\r\n", b"\r\n", b"1\r\nab\r\n", b"0\r\n\r\nmore", b"1" * 5000])
def test_chunks_that_are_none_are_refused(data: bytes):
    with pytest.raises(ValueError, match=r"chunk|length"):
        Body(200, {"transfer-encoding": "chunked"}).feed(data)


def test_a_body_of_a_stated_length():
    body = Body(200, {"content-length": "5"})
    assert (body.feed(b"ab"), body.ended, body.feed(b"cde"), body.ended) == (b"ab", False, b"cde", True)
    assert Body(200, {"content-length": "0"}).ended
    assert Body(204, {}).ended
    with pytest.raises(ValueError, match="longer than its content-length"):
        Body(200, {"content-length": "1"}).feed(b"ab")
    with pytest.raises(ValueError, match="length"):
        Body(200, {"content-length": "-1"})


def test_heads():
    assert parse_head(b"HTTP/1.1 200 OK\r\nX-A:  b \r\nX-a: c") == (200, {"x-a": "c"}, True)
    assert parse_head(b"HTTP/1.1 503\r\nConnection: close")[2] is False
    assert parse_head(b"HTTP/1.0 200 OK")[2] is False
    for head in (b"SSH-2.0-OpenSSH", b"HTTP/1.1 abc", b"HTTP/2 200", b"HTTP/1.1 200 OK\r\nnonsense"):
        with pytest.raises(ValueError, match=r"begins with|a header has"):
            parse_head(head)


@asynccontextmanager
async def talking(*scripts: Script, keep_s: float = 60.0):
    """A pool towards a server that plays one script a connection."""
    left = iter(scripts)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await next(left)(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        pool = ConnectionPool("127.0.0.1", port, tls=None, server_name=None, connect_s=5, keep_s=keep_s)
        yield pool
        pool.close()


def answering(*answers: bytes) -> Script:
    """Answer one request after another."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        await reader.read()

    return script


def closing(answer: bytes) -> Script:
    """Answer one request, with these bytes and then the end of the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    return script


def answer(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), head, body)


async def asked(connection: Connection) -> bytes:
    await connection.ask(ASK, 5)
    return await connection.whole(5)


async def test_a_connection_is_used_again():
    async with talking(
        answering(answer(b"one"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"two"))
    ) as pool:
        seen = []
        for _ in range(2):
            connection = await pool.take()
            await connection.ask(ASK, 5)
            assert await connection.whole(5) in (b"one", b"two")
            seen.append(connection)
            pool.give_back(connection)
        assert seen[0] is seen[1]


async def test_a_replica_that_went_while_a_connection_to_it_was_idle_never_had_the_request():
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"one"))
        await reader.readuntil(b"\r\n\r\n")

    async with talking(script) as pool:
        async with Leg("d0", pool, ASK, set(), answer_s=5) as leg:
            assert await leg.read(5) == b"one"
        pool._port = 9  # nobody is there any more
        with pytest.raises(ReplicaFailed) as caught:
            await Leg("d0", pool, ASK, set(), answer_s=5).__aenter__()
    assert (caught.value.reached, caught.value.unreachable) == (False, True)


async def test_one_that_was_idle_for_long_is_not_trusted():
    async with talking(answering(answer(b"one")), answering(answer(b"two")), keep_s=0.0) as pool:
        for expected in (b"one", b"two"):
            connection = await pool.take()
            await connection.ask(ASK, 5)
            assert await connection.whole(5) == expected
            pool.give_back(connection)


async def test_idle_connections_end_when_they_are_trusted_no_more():
    """Nobody takes them any more, and a machine that vanished ends none."""
    async with talking(answering(answer(b"one")), answering(answer(b"two")), keep_s=60.0) as pool:
        clock = pool._now = Clock()
        connections = [await pool.take() for _ in range(2)]
        for connection in connections:
            await asked(connection)
            pool.give_back(connection)
            clock.seconds += 40
        pool.tidy()
        assert [one._transport.is_closing() for one in connections] == [True, False]


async def test_an_address_that_no_route_has_any_more_keeps_no_connection():
    engines = FakeEngine("d0"), FakeEngine("d1")
    async with serving(*engines), Upstream(RouterSettings()) as upstream:
        replicas = [ReplicaAddress(one.name, Phase.DECODE, one.url) for one in engines]
        used = []
        for replica in replicas * 2:
            async with upstream.post(replica, "/v1/completions", b"{}", HEADERS, answer_s=5) as leg:
                await leg.read(5)
                used.append(leg._open._transport)
        async with upstream.post(replicas[0], "/v1/completions", b"{}", HEADERS, answer_s=5) as leg:
            upstream.tidy(replicas[1:])
            await leg.read(5)
        assert used[:2] == used[2:]
        assert [transport.is_closing() for transport in used[:2]] == [True, False]


async def test_the_kernel_looks_whether_an_engine_is_still_there():
    async with talking(answering()) as pool:
        connection = await pool.take()
        plain = connection._transport.get_extra_info("socket")
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 120
        connection.close()


@pytest.mark.parametrize(
    "said", [answer(b"one", b"Connection: close\r\n"), b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none"]
)
async def test_one_that_says_it_closes_is_not_kept(said: bytes):
    async with talking(answering(said)) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        assert await connection.whole(5) == b"one"
        assert not connection.may_be_kept()
        pool.give_back(connection)


async def test_an_answer_left_early_ends_its_connection():
    ended = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none")
        try:
            await reader.read()
        finally:
            ended.set()

    async with talking(script) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        assert await connection.chunk(5) == b"one"
        pool.give_back(connection)
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_body_may_last_as_long_as_its_connection():
    async with talking(closing(b"HTTP/1.1 200 OK\r\n\r\nto the end")) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        assert await connection.whole(5) == b"to the end"
        assert not connection.may_be_kept()


async def test_interim_answers_are_skipped():
    async with talking(answering(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(b"one"))) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        assert (connection.status, await connection.whole(5)) == (200, b"one")
        pool.give_back(connection)


@pytest.mark.parametrize(
    ("said", "unanswered"),
    [
        (b"", True),
        (b"HTTP/1.1 2", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, False),
    ],
)
async def test_an_answer_that_is_not_whole_is_broken(said: bytes, unanswered: bool):
    async with talking(closing(said)) as pool:
        connection = await pool.take()
        with pytest.raises(Broken) as caught:
            await asked(connection)
        assert caught.value.unanswered is unanswered
        pool.give_back(connection)


def dripping(*pieces: bytes, ends: bool = True) -> Script:
    """Answer with a chunk at a time, each when the one before was read; then the end, or nothing more."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0.01)
        if ends:
            writer.write(b"0\r\n\r\n")
        await reader.read()

    return script


PIECES = (b"one", b"two", b"three")


async def test_a_body_is_given_on_as_it_comes():
    got: list[bytes] = []

    def take(piece: bytes) -> bool:
        got.append(piece)
        return True

    async with talking(dripping(*PIECES)) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        assert await connection.pass_on(take, 5) is False
        assert (b"".join(got), connection.may_be_kept()) == (b"".join(PIECES), True)
        assert await connection.pass_on(take, 5) is False
        pool.give_back(connection)


async def test_who_takes_no_more_gets_the_rest_later():
    got: list[bytes] = []
    async with talking(dripping(*PIECES)) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        turns = 1
        while await connection.pass_on(lambda piece: bool(got.append(piece)), 5):
            turns += 1
            await asyncio.sleep(0.02)
        assert b"".join(got) == b"".join(PIECES)
        assert turns > 1
        pool.give_back(connection)


async def test_what_goes_wrong_with_taking_is_said_to_who_waits():
    def take(piece: bytes) -> bool:
        if piece.endswith(b"two"):
            raise LookupError(piece)
        return True

    async with talking(dripping(*PIECES)) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        with pytest.raises(LookupError):
            await connection.pass_on(take, 5)
        pool.give_back(connection)
        assert not connection.is_open or not connection.may_be_kept()


async def test_a_stream_that_goes_on_meets_no_deadline_and_one_that_stops_does():
    async with talking(dripping(*[b"x"] * 40, ends=False)) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        got: list[bytes] = []
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await connection.pass_on(lambda piece: got.append(piece) is None, 0.25)
        assert asyncio.get_running_loop().time() - begun > 0.4
        assert len(b"".join(got)) == 40
        pool.give_back(connection)


async def test_a_stream_that_breaks_off_is_broken_though_nobody_waits_for_its_chunks():
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
    for said in (whole, whole + b"not a length\r\n"):
        async with talking(closing(said)) as pool:
            connection = await pool.take()
            await connection.ask(ASK, 5)
            with pytest.raises(Broken):
                await connection.pass_on(lambda _: True, 5)
            pool.give_back(connection)


async def test_deadlines():
    async with talking(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), answering(b"")) as pool:
        connection = await pool.take()
        await connection.ask(ASK, 5)
        with pytest.raises(TimeoutError):
            await connection.whole(0.01)
        pool.give_back(connection)
        connection = await pool.take()
        with pytest.raises(TimeoutError):
            await connection.ask(ASK, 0.01)
        pool.give_back(connection)


async def test_bytes_that_nobody_asked_for_end_the_connection():
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await reader.read()

    async with talking(script) as pool:
        connection = await pool.take()
        async with asyncio.timeout(5):
            while connection.is_open:
                await asyncio.sleep(0.001)
        with pytest.raises(Broken):
            await connection.ask(ASK, 5)


async def test_a_reader_that_falls_behind_holds_the_sender_back():
    size = 32 * 1024 * 1024
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
        await reader.read()

    async with talking(script) as pool:
        connection: Connection = await pool.take()
        await connection.ask(ASK, 5)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < size
        assert len(await connection.whole(20)) == size
        pool.give_back(connection)
