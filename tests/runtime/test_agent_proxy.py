"""Which of the requests under way an engine means by the name that it made of one."""

import asyncio
import contextlib
import time
from types import SimpleNamespace

import pytest

from runtime.agent.proxy import TICKET, EngineProxy, request_id

UNANSWERED = 1000


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cmpl-abc-0-0123abcd", "abc"),
        ("3_cmpl-abc-12-0123abcd", "abc"),
        ("chatcmpl-abc-0123abcd", "abc"),
        ("0_chatcmpl-abc-0123abcd", "abc"),
        ("chatcmpl-abc-0-0123abcd", "abc-0"),
        ("cmpl-a-0-b_c.d-7-0123abcd", "a-0-b_c.d"),
        ("cmpl-cmpl-abc-0-0-0123abcd", "cmpl-abc-0"),
        ("cmpl-abc-0123abcd", ""),
        ("cmpl--0-0123abcd", ""),
        ("chatcmpl-abc-0123ABCD", ""),
        ("embd-abc-0-0123abcd", ""),
        ("abc", ""),
    ],
)
def test_the_id_is_cut_out_of_the_engines_name(name: str, found: str):
    assert request_id(name) == found


class Transport:
    def __init__(self):
        self.written = []

    def write(self, data: bytes):
        self.written.append(data)


class Silent:
    """An engine that answers nobody."""

    session = SimpleNamespace(request=lambda **_: Silent())

    def http(self, _replica: str):
        return self

    async def __aenter__(self):
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object):
        pass


def asked(request_id: str, replica: str = "r0"):
    headers, path = {"X-Request-Id": request_id}, f"/r/{replica}/v1/completions"
    words = {"match_info": {"replica": replica}, "method": "POST", "raw_path": path, "body_exists": False}
    return SimpleNamespace(headers=headers, transport=Transport(), **words)


@contextlib.asynccontextmanager
async def under_way(proxy: EngineProxy, *requests):
    tasks = [asyncio.create_task(proxy.handle(request)) for request in requests]
    await asyncio.sleep(0)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_ticket_is_said_at_once_however_many_wait_for_an_answer():
    """vLLM computes its queue one after the other: with a thousand requests in it as many wait for their tickets."""
    proxy = EngineProxy(Silent())
    requests = [asked(f"{number:032x}-{number:016x}") for number in range(UNANSWERED)]
    async with under_way(proxy, *requests):
        began = time.process_time()
        for request in requests:
            proxy.tell("r0", f"cmpl-{request.headers['X-Request-Id']}-0-0123abcd", {"ticket": "t"})
        assert time.process_time() - began < 0.5  # five milliseconds of it are needed
        assert all(len(request.transport.written) == 1 for request in requests)
        assert TICKET.encode() in requests[0].transport.written[0]
    assert not proxy._unanswered


async def test_nobody_is_told_where_two_could_be_meant():
    proxy, twice, elsewhere = EngineProxy(Silent()), [asked("abc"), asked("abc")], asked("abc", replica="r1")
    async with under_way(proxy, *twice, elsewhere) as tasks:
        proxy.tell("r0", "cmpl-abc-0-0123abcd", {})
        proxy.refuse("r0", "cmpl-abc-0-0123abcd")
        proxy.tell("r1", "chatcmpl-abc-0123abcd", {})
        assert [len(one.transport.written) for one in (*twice, elsewhere)] == [0, 0, 1]
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        proxy.tell("r0", "cmpl-abc-0-0123abcd", {})
        assert [len(one.transport.written) for one in twice] == [0, 1]
        proxy.refuse("r0", "cmpl-abc-0-0123abcd")
        assert (await tasks[1]).status == 503
        proxy.tell("r0", "cmpl-abc-0-0123abcd", {})
        assert len(twice[1].transport.written) == 1
    assert not proxy._unanswered


class Answering:
    """An engine whose answer comes in pieces as the test gives them."""

    status, headers = 200, {}

    def __init__(self):
        self.pieces = asyncio.Queue()
        self.content = SimpleNamespace(readany=self.pieces.get)
        self.session = SimpleNamespace(request=lambda **_: self)

    def http(self, _replica: str):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_: object):
        pass


class Sent:
    """What the caller is answered."""

    def __init__(self, *, status: int, headers: object):
        self.status, self.written = status, []

    async def prepare(self, _request: object):
        pass

    async def write(self, piece: bytes):
        self.written.append(piece)

    async def write_eof(self):
        pass


async def test_a_refusal_in_the_moment_of_the_first_byte_is_too_late(monkeypatch):
    """Else a second answer would be written into the middle of the first."""
    monkeypatch.setattr("runtime.agent.proxy.web.StreamResponse", Sent)
    engine = Answering()
    proxy = EngineProxy(engine)
    async with under_way(proxy, asked("abc")) as (task,):
        engine.pieces.put_nowait(b"first")  # the proxy wakes after the refusal
        proxy.refuse("r0", "cmpl-abc-0-0123abcd")
        for _ in range(5):
            await asyncio.sleep(0)
        engine.pieces.put_nowait(b"")
        answer = await task
    assert (answer.status, answer.written) == (200, [b"first"])
