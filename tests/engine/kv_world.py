"""Two real engines behind two relays that speak mutual TLS, as two agents on two machines would run them."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from runtime.agent.leftovers import make_temporary_folder, remove_leftovers
from runtime.connector.handing import BACK_OFF_S
from runtime.engine import engine_command
from runtime.messages import EngineSpec
from runtime.relay.local import LocalDoor
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.reading import Reading
from runtime.relay.relay import Relay
from runtime.relay.server import add_relay_routes
from runtime.tls import client_context, server_context
from thunderctl.keys.certificates import ensure_authority, issue

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples" / "tiny-llama"
READY_S = 400
ATTEMPTS = 4
STOP_S = 45

TINY = EngineSpec(
    replica="",
    model=str(MODEL),
    served_name="tiny-llama",
    dtype="float16",
    max_model_len=4096,
    kv_cache_bytes=128 << 20,
    device="cpu",
)

NEAR_TIE = 0.02
"""Two tokens whose log-probabilities are nearer than this may swap: the order of arithmetic differs."""


COMPLETIONS = "/v1/completions"


def completion(prompt: list[int], tokens: int) -> dict[str, Any]:
    """The body that asks for greedy output for token ids."""
    body = {"model": "tiny-llama", "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    return body | {"return_token_ids": True, "ignore_eos": True}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Side:
    """One machine: a folder, a relay on a port, an engine on a Unix socket."""

    name: str
    folder: Path
    relay: Relay
    door: LocalDoor
    runner: web.AppRunner
    shared: SharedPort
    port: int
    engine: "subprocess.Popen[bytes] | None" = None
    temporary: Path | None = None
    """The engine's own, as under an agent: by it is known what vLLM leaves in shared memory."""

    def asked(self, path: str, body: dict[str, Any], **headers: str) -> http.client.HTTPConnection:
        """A question whose answer is the caller's to await, or not: closing takes the question back."""
        connection = _UnixConnection(self.folder / "run" / f"{self.name}.sock")
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"} | headers)
        return connection

    def call(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        status, data = self._ask(path, json.dumps(body) if body else None)
        return status, json.loads(data) if data.startswith(b"{") else {}

    def metric(self, name: str) -> float:
        """A counter of vLLM's."""
        lines = self._ask("/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))

    def _ask(self, path: str, body: str | None = None) -> tuple[int, bytes]:
        with contextlib.closing(_UnixConnection(self.folder / "run" / f"{self.name}.sock")) as connection:
            headers = {"Content-Type": "application/json"}
            connection.request("POST" if body else "GET", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def complete(self, prompt: list[int], tokens: int, **change: Any) -> dict[str, Any]:
        """Greedy output for token ids. Raises AssertionError on any status but 200."""
        status, answer = self.call(COMPLETIONS, completion(prompt, tokens) | change)
        assert status == 200, answer
        return answer

    @property
    def log(self) -> str:
        return (self.folder / "engine.log").read_text(errors="replace")

    def counted(self, name: str) -> float:
        return self.relay.health.kv.get(name, 0.0)


@dataclass
class World:
    """`prefill` and `decode`, and the event loop that both relays live in."""

    folder: Path
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    sides: dict[str, Side] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    @property
    def prefill(self) -> Side:
        return self.sides["p"]

    @property
    def decode(self) -> Side:
        return self.sides["d"]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def add(self, name: str) -> Side:
        (self.folder / name / "run").mkdir(parents=True)
        issue(self.folder / "ca", f"{name}.agent.thunder", self.folder / name / "tls")
        self.sides[name] = self.run(self._open(name, socket.create_server(("127.0.0.1", 0))))
        return self.sides[name]

    async def _open(self, name: str, listener: socket.socket) -> Side:
        folder, port = self.folder / name, listener.getsockname()[1]
        relay = Relay(
            agent_name=f"{name}.agent.thunder",
            advertise=("127.0.0.1", port),
            pool_bytes=96 << 20,
            ssl_context=client_context(folder / "tls"),
        )
        app = web.Application()
        add_relay_routes(app, relay)
        runner = web.AppRunner(app)
        await runner.setup()
        context = server_context(folder / "tls")
        shared = SharedPort(listener, runner, PullServer(relay, context), context)
        await shared.start()
        door = LocalDoor(relay, str(folder / "run" / "connector.sock"))
        await relay.start()
        await door.start()
        return Side(name, folder, relay, door, runner, shared, port)

    def restart_agent(self, side: Side) -> None:
        """The agent dies and another one takes its place; the engine stays."""
        self.run(_close(side))
        fresh = self.run(self._open(side.name, socket.create_server(("127.0.0.1", 0))))
        side.relay, side.door, side.runner = fresh.relay, fresh.door, fresh.runner
        side.shared, side.port = fresh.shared, fresh.port

    def ticket(self, prompt: list[int], *, at: Side | None = None, **order: Any) -> dict[str, Any]:
        """The prefill leg, again where the agent was too slow: a busy machine may not run it in time."""
        for _ in range(ATTEMPTS):
            if ticket := self.handed_on(prompt, at=at, **order):
                return ticket
            time.sleep(BACK_OFF_S)
        raise AssertionError(f"no ticket in {ATTEMPTS} attempts: {(at or self.prefill).log[-3000:]}")

    def handed_on(
        self, prompt: list[int], codec: str = "raw", readers: int = 1, at: Side | None = None, **change: Any
    ) -> dict[str, Any] | None:
        """The prefill leg, on the prefill engine unless another is named, and the ticket if there is one."""
        params = {"do_remote_decode": True, "codec": codec, "readers": readers, "stream": True, **change}
        ticket: dict[str, Any] | None = (at or self.prefill).complete(prompt, 1, kv_transfer_params=params)[
            "kv_transfer_params"
        ]
        return ticket

    @contextlib.contextmanager
    def joined(self, **specs: EngineSpec) -> Iterator[None]:
        """More engines, which serve when the block begins and are gone when it has ended."""
        try:
            for name, spec in specs.items():
                _start(self.add(name), replace(spec, replica=name))
            for name in specs:
                _wait_ready(self.sides[name])
            yield
        finally:
            self._part([name for name in specs if name in self.sides])

    def _part(self, names: list[str]) -> None:
        sides = [self.sides.pop(name) for name in names]
        for side in sides:
            _terminate(side)
        for side in sides:
            _ended(side)
            self.run(_close(side))

    def close(self) -> None:
        self._part(list(self.sides))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextlib.contextmanager
def world(folder: Path, prefill: EngineSpec, decode: EngineSpec) -> Iterator[World]:
    """Start everything, wait until both engines serve, and stop all of it whatever happens."""
    ensure_authority(folder / "ca")
    with contextlib.closing(World(folder)) as made, made.joined(p=prefill, d=decode):
        yield made


def compared(answer: dict[str, Any], single: dict[str, Any], index: int = 0) -> str:
    """How an answer differs from the single engine's, which came with `logprobs`: "equal", "near tie", or where."""
    got, wanted = answer["choices"][index]["token_ids"], single["choices"][0]["token_ids"]
    at = next((i for i, pair in enumerate(zip(got, wanted, strict=True)) if pair[0] != pair[1]), None)
    if at is None:
        return "equal"
    best = sorted(single["choices"][0]["logprobs"]["top_logprobs"][at].values(), reverse=True)
    return "near tie" if best[0] - best[1] <= NEAR_TIE else f"token {at} is {got[at]}, not {wanted[at]}: {best}"


def soon(condition: Callable[[], object], within_s: float = 15.0) -> bool:
    """Whether it becomes true."""
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


async def whole(reading: Reading) -> memoryview:
    """The bytes of a ticket when all of them are there."""
    async for _ in reading.pieces([reading.ticket.format.whole]):
        pass
    return reading.data


def _start(side: Side, spec: EngineSpec) -> None:
    command = engine_command(spec, python=sys.executable)
    side.temporary = make_temporary_folder()
    environment = {**os.environ, **command.env, "PYTHONPATH": str(ROOT), "TMPDIR": str(side.temporary)}
    with (side.folder / "engine.log").open("wb") as log:
        side.engine = subprocess.Popen(
            command.argv, cwd=side.folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def _wait_ready(side: Side) -> None:
    assert side.engine is not None
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if side.call("/health")[0] == 200:
                return
        assert side.engine.poll() is None, side.log[-5000:]
        time.sleep(0.2)
    raise AssertionError(f"{side.name} is not ready after {READY_S} s: {side.log[-5000:]}")


async def _close(side: Side) -> None:
    await side.shared.close()
    await side.door.close()
    await side.relay.close()
    await side.runner.cleanup()


def _terminate(side: Side) -> None:
    """Its own process group, and only that."""
    if side.engine is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(side.engine.pid, signal.SIGTERM)


def _ended(side: Side) -> None:
    if side.engine is None:
        return
    try:
        side.engine.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(side.engine.pid, signal.SIGKILL)
        side.engine.wait()
    if side.temporary is not None:
        remove_leftovers(side.temporary, ())
