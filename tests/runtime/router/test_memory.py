"""What the router holds: little for a stream, however slow its client is, and no more files than it may."""

import json
import socket
import time
from contextlib import ExitStack

import aiohttp
import psutil
import pytest

from benchmarks.counting_engine import START, start_engine
from benchmarks.router_process import mock_router, resident_mb
from benchmarks.router_streams import AT_ONCE, BODY, HEAD, SILENT, clients

STREAMS = 25
MB_A_STREAM = {SILENT: 0.1, AT_ONCE: 0.2}
"""Of few streams, so with a share of what the router takes for itself; benchmarks/router_streams.py is more exact."""


@pytest.fixture
def engine(request):
    started = start_engine(step_s=getattr(request, "param", 0.01))
    yield started
    started.kill()


def over(engine, **options):
    return mock_router({"p0": engine.port, "d0": engine.port}, max_in_flight=1000, **options)


def asked(port: int, body: bytes = BODY) -> socket.socket:
    """A connection that has begun to be answered with 200."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


@pytest.mark.parametrize("engine", [SILENT, AT_ONCE], ids=["engines are silent", "clients don't read"], indirect=True)
def test_a_stream_costs_little_memory(engine, request):
    step_s = request.node.callspec.params["engine"]
    with over(engine) as router:
        process = psutil.Process(router.pid)
        asked(router.port).close()
        before = resident_mb(process)
        with clients(router.port, STREAMS):
            last = 0.0
            while (now := resident_mb(process)) > last:
                last = now
                time.sleep(0.5)
            assert (now - before) / STREAMS < MB_A_STREAM[step_s]


@pytest.mark.parametrize("engine", [AT_ONCE], indirect=True)
def test_a_client_that_pauses_misses_nothing(engine):
    """Its engine waits meanwhile: 4 MB don't fit into the buffers on the way."""
    count = 20_000
    body = json.dumps({"prompt": "1000", "max_tokens": count, "stream": True}).encode()
    with over(engine) as router, asked(router.port, body) as connection:
        process = psutil.Process(router.pid)
        while (before := process.cpu_times()) and (time.sleep(0.3) or process.cpu_times()) != before:
            pass  # until nothing moves any more
        assert resident_mb(process) < 100
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += connection.recv(1 << 20)
    said = [json.loads(line[6:])["choices"][0]["text"] for line in got.split(b"\n") if line.startswith(b"data: {")]
    assert said == [f" {START + number}" for number in range(1, count + 1)]


async def test_a_router_that_runs_out_of_files_lives_and_blames_no_replica(engine):
    """New connections wait for it to have some again; what is under way goes on."""
    with ExitStack() as stack:
        router = stack.enter_context(over(engine, files=140))
        process = psutil.Process(router.pid)
        under_way = stack.enter_context(asked(router.port))
        crowd = [  # some are taken, the others wait in the kernel's queue
            socket.create_connection(("127.0.0.1", router.port)) for _ in range(200)
        ]
        time.sleep(2)
        busy_s = sum(process.cpu_times()[:2])
        time.sleep(2)
        assert sum(process.cpu_times()[:2]) - busy_s < 1.0
        assert under_way.recv(1 << 16)
        for connection in crowd:
            connection.close()
        async with aiohttp.ClientSession() as http:
            body = {"prompt": "1000", "max_tokens": 2}
            async with http.post(
                f"{router.url}/v1/completions", json=body, timeout=aiohttp.ClientTimeout(30)
            ) as answer:
                assert (await answer.json())["choices"][0]["text"] == " 1001 1002"
            async with http.get(f"{router.url}/health") as answer:
                assert (await answer.json())["replicas"] == {"p0": True, "d0": True}
