"""Agents before the mock engines of the router's benchmark, each a process as an instance has one: mutual TLS and all.

Everything of an agent but its engine is real. That runs already, and listens on a Unix socket as engines do.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

from aiohttp import web

from benchmarks.router_mocks import socket_of
from runtime.agent.app import Agent
from runtime.agent.contact import Contact
from runtime.agent.engine_http import EngineHttp
from runtime.agent.process import KEEPALIVE_S, default_command
from runtime.agent.supervisor import Supervisor
from runtime.listening import bound_socket
from runtime.messages import ROUTER_NAME, agent_name
from runtime.open_files import raise_file_limit
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.relay import Relay
from runtime.relay.reverse import ReverseDial
from runtime.tls import client_context, server_context
from thunderctl.keys.certificates import ensure_authority, issue

POOL_BYTES = 1 << 20
READY_S = 60.0


class Standing(Supervisor):
    """One engine that somebody else has started."""

    def __init__(self, folder: Path, socket: Path) -> None:
        super().__init__(folder, command=default_command, stop_grace_s=0.0)
        self._http = EngineHttp(str(socket))

    def http(self, replica: str) -> EngineHttp:
        return self._http


@contextmanager
def agents_before(engines: Mapping[str, int], sockets: Path, folder: Path) -> Iterator[tuple[dict[str, int], Path]]:
    """Agents of engines by name and port; their ports by the same names, and the router's credentials."""
    ensure_authority(folder / "ca")
    issue(folder / "ca", ROUTER_NAME, folder / "router")
    started = []
    for name, port in engines.items():
        issue(folder / "ca", agent_name(name), folder / name)
        command = [sys.executable, "-m", "benchmarks.router_agents", name, str(socket_of(sockets, port)), str(folder)]
        started.append(Popen(command))
    try:
        yield {name: _port(folder / f"{name}.port") for name in engines}, folder / "router"
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> None:
    """One agent's side."""
    name, socket, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    raise_file_limit()
    asyncio.run(serve(name, socket, folder))


async def serve(name: str, socket: Path, folder: Path) -> None:
    server_tls, client_tls = server_context(folder / name), client_context(folder / name)
    with bound_socket("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()[:2]
        relay = Relay(
            agent_name=agent_name(name), advertise=(host, port), pool_bytes=POOL_BYTES, ssl_context=client_tls
        )
        pulls = PullServer(relay, server_tls)
        reverse, contact = ReverseDial(client_tls, pulls.answer), Contact(folder / name / "renewed")
        app = Agent(name, "mock", Standing(folder, socket), relay, reverse, contact, shut_down=lambda: None).app()
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, keepalive_timeout=KEEPALIVE_S)
        await runner.setup()
        await SharedPort(listener, runner, pulls, server_tls).start()
        said = folder / f"{name}.port"
        said.with_suffix(".new").write_text(str(port), encoding="utf-8")
        said.with_suffix(".new").rename(said)
        await asyncio.Event().wait()


def _port(said: Path) -> int:
    until = time.monotonic() + READY_S
    while not said.exists():
        if time.monotonic() > until:
            raise RuntimeError(f"the agent of {said.stem} did not come up")
        time.sleep(0.05)
    return int(said.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
