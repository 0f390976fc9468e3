"""Two real engines behind two real agents, each pair of them at an end of a line, and a client that asks the engines.

The client stands in for the router: it sends the prefill leg to one engine and the ticket to the other, by the engines'
Unix sockets, so that nothing but tiles and their acknowledgements crosses the line.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from benchmarks.shaped_line import ADDRESSES, Line
from planner.deployment import Codec
from planner.errors import HostError
from runtime.agent.config import AgentConfig
from runtime.engine import CONNECTOR_SOCKET, engine_command, socket_path
from runtime.messages import EngineSpec, agent_name
from thunderctl.bench.load import Answer, ask
from thunderctl.calibration.fleet import Pair
from thunderctl.hosts.engine_environment import PROJECT, engine_python
from thunderctl.keys.certificates import ensure_authority, issue

MODEL = PROJECT / "examples" / "tiny-llama"
NAMES = ("p", "d")
LOADED = "vllm:external_prefix_cache_hits_total{"
READY_S, STOP_S, POLL_S = 240.0, 45.0, 0.2
STEPS = 8
"""Tokens after the first, by which a step is known."""
ENGINE = EngineSpec(
    replica="",
    model=str(MODEL),
    served_name=MODEL.name,
    dtype="float16",
    max_model_len=4096,
    kv_cache_bytes=256 << 20,
    device="cpu",
)


@dataclass(frozen=True, slots=True)
class Legs:
    """One request, in seconds: its prefill leg (0: none), then the decode leg until its first token, and a step."""

    prefill_s: float
    decode_s: float
    step_s: float

    @property
    def ttft_s(self) -> float:
        return self.prefill_s + self.decode_s


class EnginePair:
    """Engines `p` and `d`, asked over the routes in force in turn. As `Measurer` wants them."""

    replicas: Sequence[str] = NAMES

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._routes: tuple[Pair, ...] = ()
        self._asked = 0

    async def route(self, *pairs: Pair) -> None:
        self._routes = pairs

    async def ask(self, prompt: Sequence[int], tokens: int) -> Answer:
        """An answer whose times count from the prefill leg on, where there is one."""
        prefill, decode, codec = self._routes[self._asked % len(self._routes)]
        self._asked += 1
        if prefill == decode:
            return await self._decode(decode, prompt, tokens, None)
        prefill_s, ticket = await self._prefill(prefill, prompt, codec)
        answer = await self._decode(decode, prompt, tokens, ticket)
        return Answer(prefill_s + answer.first_s, prefill_s + answer.last_s, tokens)

    async def legs(self, prompt: Sequence[int], codec: Codec) -> Legs:
        """A request from `p` to `d`, or to `d` alone, with the codec `local`."""
        prefill_s, ticket = (0.0, None) if codec is Codec.LOCAL else await self._prefill("p", prompt, codec)
        answer = await self._decode("d", prompt, STEPS + 1, ticket)
        return Legs(prefill_s, answer.first_s, answer.tpot_s)

    def sending_cpu_s(self) -> float:
        """Not counted: requests that are alone don't depend on it."""
        return 0.0

    async def loaded(self) -> float:
        """Tokens whose KV came from elsewhere, so far, as the decode engine counts them."""
        _, text = await self._get("d", "/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(LOADED))

    async def _prefill(self, name: str, prompt: Sequence[int], codec: Codec) -> tuple[float, Any]:
        order = {"do_remote_decode": True, "codec": str(codec), "readers": 1}
        body = {"model": MODEL.name, "prompt": list(prompt), "max_tokens": 1, "temperature": 0}
        async with self._session(name) as session:
            started = time.perf_counter()
            async with session.post("http://engine/v1/completions", json=body | {"kv_transfer_params": order}) as said:
                answer = await said.json()
            return time.perf_counter() - started, answer["kv_transfer_params"]

    async def _decode(self, name: str, prompt: Sequence[int], tokens: int, ticket: Any) -> Answer:
        more = {"kv_transfer_params": ticket} if ticket else {}
        return await ask("http://engine/v1", MODEL.name, prompt, tokens, more=more, socket=self._socket(name))

    async def ready(self, name: str) -> bool:
        try:
            status, _ = await self._get(name, "/health")
        except aiohttp.ClientError:
            return False
        return status == 200

    async def _get(self, name: str, path: str) -> tuple[int, str]:
        async with self._session(name) as session, session.get(f"http://engine{path}") as said:
            return said.status, await said.text()

    def _session(self, name: str) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(self._socket(name)))

    def _socket(self, name: str) -> str:
        return os.path.relpath(self._folder / name / socket_path(name))


@contextmanager
def engine_pair(folder: Path, line: Line) -> Iterator[EnginePair]:
    """Start agents, then engines; wait until these serve, and end all of it at the end."""
    pair, python = EnginePair(folder), engine_python()
    with ExitStack() as stack:
        for end, name in enumerate(NAMES):
            argv = [*line.through(end), python, "-P", "-m", "runtime.agent", "agent.json"]
            agent = stack.enter_context(process_in(argv, place_of(folder, name, ADDRESSES[end]), "agent"))
            wait_for((folder / name / CONNECTOR_SOCKET).exists, agent)
        engines = []
        for end, name in enumerate(NAMES):
            command = engine_command(replace(ENGINE, replica=name), python=python)
            argv = [*line.through(end), *command.argv]
            engines.append(stack.enter_context(process_in(argv, folder / name, "engine", command.env)))
        for name, engine in zip(NAMES, engines, strict=True):
            wait_for(lambda name=name: asyncio.run(pair.ready(name)), engine)
        yield pair


def place_of(folder: Path, name: str, host: str) -> Path:
    """The folder of an agent, with its configuration and its certificate."""
    place = folder / name
    place.mkdir()
    ensure_authority(folder / "ca")
    issue(folder / "ca", agent_name(name), place / "tls")
    (place / "agent.json").write_text(json.dumps(AgentConfig(name, host=host).to_json()))
    return place


@contextmanager
def process_in(
    argv: Sequence[str], place: Path, what: str, env: Mapping[str, str] = MappingProxyType({})
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process group of its own, and its end."""
    with (place / f"{what}.log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(PROJECT), **env},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + READY_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise HostError(f"{' '.join(map(str, process.args))[:200]} did not start.")  # type: ignore[arg-type]
        time.sleep(POLL_S)
