"""A stream's two ends on loopback: what comes a record at a time is waited for to its end, and an end is heard of."""

import asyncio
import socket

import pytest

from runtime.messages import agent_name
from runtime.relay.stream import Stream
from runtime.tls import client_context, server_context

LITTLE, MUCH = 16 << 10, 512 << 10


@pytest.fixture
async def ends(credentials):
    """(who sends, who receives)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    for plain in (dialled, accepted):
        plain.setblocking(False)
    receiver = Stream(dialled, client_context(credentials / "d"), name=agent_name("p"))
    sender = Stream(accepted, server_context(credentials / "p"))
    await asyncio.gather(receiver.shake_hands(), sender.shake_hands())
    yield sender, receiver
    sender.close()
    receiver.close()


async def drip(sender, data):
    """A record at a time, each on the wire before the next."""
    for at in range(0, len(data), LITTLE):
        await sender.send(data[at : at + LITTLE])
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("length", [1, 14, LITTLE, MUCH, MUCH + LITTLE + 1])
async def test_the_end_of_an_answer_is_waited_for_by_itself_however_long_it_is(ends, length):
    sender, receiver = ends
    for _ in range(3):
        waiting = asyncio.create_task(receiver.receive(length, 5.0))
        await asyncio.sleep(0.002)
        await drip(sender, memoryview(bytes(length)))
        assert len(await waiting) == length


async def test_after_much_a_single_byte_is_heard_of(ends):
    sender, receiver = ends
    waiting = asyncio.create_task(receiver.receive(MUCH))
    await drip(sender, memoryview(bytes(MUCH)))
    await waiting
    assert receiver.quiet
    await sender.send(memoryview(b"!"))
    async with asyncio.timeout(5):
        while receiver.quiet:
            await asyncio.sleep(0.001)


async def test_who_waits_for_much_hears_of_the_end_at_once(ends):
    sender, receiver = ends
    waiting = asyncio.create_task(receiver.receive(MUCH, 60.0))
    await sender.send(memoryview(b"not much"))
    await asyncio.sleep(0.01)
    sender.close()
    with pytest.raises(OSError, match=r"ended|EOF|closed"):
        await asyncio.wait_for(waiting, 5)
