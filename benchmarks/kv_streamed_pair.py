"""Two agents at the ends of a line, each with an engine, and a client that takes a ticket up as soon as it is said.

The client stands in for the router: it asks the prefill engine through its agent, from within that agent's network, and
the decode engine by its Unix socket, so that nothing but tiles and their acknowledgements crosses the line.
"""

import asyncio
import ctypes
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.kv_crossover_pair import ENGINE, MODEL, NAMES, STEPS, EnginePair, place_of, process_in, wait_for
from benchmarks.shaped_line import ADDRESSES, Line
from planner.deployment import Codec
from runtime.engine import CONNECTOR_SOCKET, socket_path
from runtime.messages import CONTROLLER_NAME, agent_name
from runtime.router.engines.connection import Connection
from runtime.router.legs.transfer import TICKET_HEADER
from runtime.tls import client_context
from thunderctl.hosts.engine_environment import engine_python
from thunderctl.keys.certificates import issue

ANSWER_S = 120.0
TOKENS_PER_PASS = 1024
SMALL_PASSES = ("--max-num-batched-tokens", str(TOKENS_PER_PASS))
"""So that prompts that are short enough for the model take several."""

CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Run:
    """A request, in seconds from its beginning: its ticket, prefill's answer, the first token; and then a step."""

    ticket_s: float
    prefill_s: float
    first_s: float
    step_s: float


class StreamedPair(EnginePair):
    """Engines `p` and `d`, started by their agents."""

    def __init__(self, folder: Path, line: Line) -> None:
        super().__init__(folder)
        self._line = line
        issue(folder / "ca", CONTROLLER_NAME, folder / "client")
        self._tls = client_context(folder / "client")

    async def run(self, prompt: Sequence[int], codec: Codec, *, streamed: bool) -> Run:
        """From `p` to `d`. Not `streamed`: the decode leg begins when the prefill leg has ended."""
        order = {"do_remote_decode": True, "codec": str(codec), "readers": 1, "stream": streamed}
        body = {"model": MODEL.name, "prompt": list(prompt), "max_tokens": 1, "temperature": 0}
        said: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()

        def early(headers: Mapping[str, str]) -> None:
            said.set_result(json.loads(headers[TICKET_HEADER]))

        async def prefill() -> float:
            answer = await self.post(0, "/r/p/v1/completions", body | {"kv_transfer_params": order}, early)
            if not said.done():
                said.set_result(answer["kv_transfer_params"])
            return time.perf_counter() - began

        async with asyncio.TaskGroup() as legs:
            prefilling = legs.create_task(prefill())
            ticket = await said
            ticket_s = time.perf_counter() - began
            answer = await self._decode("d", prompt, STEPS + 1, ticket)
        return Run(ticket_s, prefilling.result(), ticket_s + answer.first_s, answer.tpot_s)

    async def post(self, end: int, path: str, body: Mapping[str, Any], early: Any = None) -> Any:
        """Ask the agent at an end, on a connection of its own."""
        name, data = NAMES[end], json.dumps(body).encode()
        address = ADDRESSES[end], int(json.loads((self._folder / name / "run" / "agent.pid.json").read_bytes())["port"])
        plain = await asyncio.to_thread(_connected, self._line.names[end], address)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, sock=plain, ssl=self._tls, server_hostname=agent_name(name)
        )
        head = f"POST {path} HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n"
        head += f"X-Request-Id: {os.urandom(8).hex()}\r\n"
        try:
            request = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
            await connection.ask(request, ANSWER_S, *([early] if early else []))
            answer = await connection.whole(ANSWER_S)
        finally:
            connection.close()
        assert connection.status < 300, answer
        return json.loads(answer)


@contextmanager
def streamed_pair(folder: Path, line: Line) -> Iterator[StreamedPair]:
    """Start agents, then engines; wait until these serve, and end all of it at the end."""
    python = engine_python()
    with ExitStack() as stack:
        agents = []
        for end, name in enumerate(NAMES):
            argv = [*line.through(end), python, "-P", "-m", "runtime.agent", "agent.json"]
            agents.append(stack.enter_context(process_in(argv, place_of(folder, name, ADDRESSES[end]), "agent")))
            wait_for((folder / name / CONNECTOR_SOCKET).exists, agents[-1])
        pair = StreamedPair(folder, line)
        for end, name in enumerate(NAMES):
            asyncio.run(pair.post(end, "/engines", replace(ENGINE, replica=name, extra_args=SMALL_PASSES).to_json()))
        for name, agent in zip(NAMES, agents, strict=True):
            wait_for(lambda name=name: _serves(pair, folder, name), agent)
        yield pair


def _serves(pair: StreamedPair, folder: Path, name: str) -> bool:
    return (folder / name / socket_path(name)).exists() and asyncio.run(pair.ready(name))


def _connected(namespace: str, address: tuple[str, int]) -> socket.socket:
    """A connection made within a network namespace, by a thread that enters it and ends."""
    found: list[socket.socket] = []

    def connect() -> None:
        with Path(f"/var/run/netns/{namespace}").open() as name:
            if ctypes.CDLL(None, use_errno=True).setns(name.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        found.append(socket.create_connection(address))

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    (plain,) = found
    plain.setblocking(False)
    return plain
