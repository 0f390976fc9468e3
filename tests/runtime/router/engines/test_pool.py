"""How a router connects to one address when many requests want to at once, and when it is hung up on."""

import asyncio
import socket
import struct

import pytest

from runtime.messages import ROUTER_NAME, agent_name
from runtime.router.engines.pool import LIMIT_CONNECTING, ConnectionPool
from runtime.tls import client_context, server_context
from thunderctl.keys.certificates import ensure_authority, issue

AT_ONCE = 4 * LIMIT_CONNECTING
AT_ALL = struct.pack("ii", 1, 0)
"""How a socket lingers that is to be reset when it is closed."""


class Kept:
    """A connection that may be used again."""

    is_open = True
    idle_since = float("inf")

    def may_be_kept(self):
        return True

    def close(self):
        pass


class Pool(ConnectionPool):
    """Connects when it is told to, with success or without."""

    def __init__(self):
        super().__init__("nowhere", 1, tls=None, server_name=None, connect_s=5, keep_s=60)
        self.dialled = 0
        self.at_once = 0
        self.may_go_on = asyncio.Semaphore(0)
        self.fails = False

    async def _dialled(self):
        self.dialled += 1
        self.at_once = max(self.at_once, self._connecting)
        await self.may_go_on.acquire()
        if self.fails:
            raise ConnectionRefusedError
        return Kept()

    def let_go_on(self, count=AT_ONCE):
        for _ in range(count):
            self.may_go_on.release()


@pytest.fixture
async def pool():
    return Pool()


async def taking(pool, count=AT_ONCE):
    """So many requests that want a connection, and have had the time to ask for one."""
    tasks = [asyncio.create_task(pool.take()) for _ in range(count)]
    await turn()
    return tasks


async def turn():
    for _ in range(4):
        await asyncio.sleep(0)


async def test_of_many_a_few_connect_at_a_time(pool):
    tasks = await taking(pool)
    assert pool.dialled == LIMIT_CONNECTING
    pool.let_go_on()
    assert len(set(await asyncio.gather(*tasks))) == AT_ONCE
    assert (pool.at_once, pool._connecting) == (LIMIT_CONNECTING, 0)


async def test_who_waits_fails_with_those_who_connect(pool):
    """Each of them would else wait for as long as those before it."""
    pool.fails = True
    tasks = await taking(pool)
    pool.let_go_on()
    failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in failed} == {ConnectionRefusedError}
    assert (pool.dialled, pool._connecting) == (LIMIT_CONNECTING, 0)


async def test_who_waits_takes_what_was_given_back_meanwhile(pool):
    tasks = await taking(pool, LIMIT_CONNECTING + 1)
    kept = Kept()
    pool.give_back(kept)
    pool.let_go_on(1)
    await turn()
    assert (pool.dialled, await tasks.pop()) == (LIMIT_CONNECTING, kept)
    pool.let_go_on()
    await asyncio.gather(*tasks)
    assert pool._connecting == 0


async def test_who_has_gone_holds_nobody_up(pool):
    tasks = await taking(pool)
    for task in tasks[:2]:  # two that connect
        task.cancel()
    for task in tasks[-2:]:  # two that wait
        task.cancel()
    await turn()
    assert pool.dialled == LIMIT_CONNECTING + 2
    pool.let_go_on(1)
    await asyncio.sleep(0)
    for task in tasks[LIMIT_CONNECTING : 2 * LIMIT_CONNECTING]:  # one of whom has just got its turn
        task.cancel()
    pool.let_go_on()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(not task.cancelled() for task in tasks) == len(tasks) - 4 - LIMIT_CONNECTING
    assert pool._connecting == 0


@pytest.fixture
def credentials(tmp_path):
    ensure_authority(tmp_path / "ca")
    issue(tmp_path / "ca", agent_name("l1"), tmp_path / "agent")
    issue(tmp_path / "ca", ROUTER_NAME, tmp_path / "router")
    return tmp_path


async def hanging_up(listener, times):
    """Reset so many connections after their first bytes."""
    loop = asyncio.get_running_loop()
    for _ in range(times):
        connection, _ = await loop.sock_accept(listener)
        await loop.sock_recv(connection, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ALL)
        connection.close()


@pytest.mark.parametrize("times", [1, 2])
async def test_who_is_hung_up_on_while_it_connects_tries_once_more(credentials, times):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        tls, port = client_context(credentials / "router"), listener.getsockname()[1]
        pool = ConnectionPool("127.0.0.1", port, tls=tls, server_name=agent_name("l1"), connect_s=5, keep_s=60)
        taken = asyncio.create_task(pool.take())
        await hanging_up(listener, times)
        context = server_context(credentials / "agent")
        async with await asyncio.start_server(lambda *_: None, sock=listener, ssl=context):
            if times == 1:
                (await taken).close()
            else:
                with pytest.raises(ConnectionError):
                    await taken
