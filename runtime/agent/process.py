"""The agent as a process: one per instance's folder, from its port's binding to its last engine's end."""

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from aiohttp import web

from planner.errors import Refused, SpecError
from runtime.agent.app import Agent
from runtime.agent.config import AgentConfig
from runtime.agent.contact import Contact
from runtime.agent.memory import host_memory_bytes, pool_bytes_within
from runtime.agent.supervisor import Supervisor
from runtime.engine import CONNECTOR_SOCKET, EngineCommand, engine_command
from runtime.files import write_json
from runtime.listening import bound_socket
from runtime.messages import EngineSpec, agent_name
from runtime.processes import own_process_id
from runtime.relay.local import LocalDoor
from runtime.relay.port import SharedPort
from runtime.relay.pulls import PullServer
from runtime.relay.relay import Relay
from runtime.relay.reverse import ReverseDial
from runtime.tls import client_context, keep_loaded, server_context

log = logging.getLogger(__name__)

ANYWHERE = ("", "0.0.0.0", "::")
LAST_ANSWERS_S = 2.0
KEEPALIVE_S = 120.0
CARDS = "THUNDER_GPUS"
"""The UUIDs of the instance's GPUs, set by who starts the agent; empty or absent where they are not known."""


def default_command(spec: EngineSpec) -> EngineCommand:
    """vLLM in the environment that the agent itself runs in."""
    cards = [card for card in os.environ.get(CARDS, "").split(",") if card]
    return engine_command(spec, python=sys.executable, cards=cards)


async def serve(
    config: AgentConfig, folder: Path, *, command: Callable[[EngineSpec], EngineCommand] = default_command
) -> None:
    """Run the agent of the instance in `folder` until SIGTERM, SIGINT or `POST /shutdown`.

    Raises SpecError for credentials or an address that won't do, Refused when the instance's agent runs already.
    """
    for name in ("run", "logs"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    with _only_one(folder):
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        await _serve(config, folder, command, told)


async def _serve(
    config: AgentConfig, folder: Path, command: Callable[[EngineSpec], EngineCommand], told: asyncio.Event
) -> None:
    tls_folder = folder / config.tls
    server_tls, client_tls = server_context(tls_folder), client_context(tls_folder)
    with bound_socket(config.host, config.port) as socket:
        host, port = socket.getsockname()[:2]
        relay = Relay(
            agent_name=agent_name(config.instance),
            advertise=_advertised(config, port),
            pool_bytes=pool_bytes_within(config.pool_bytes, host_memory_bytes()),
            ssl_context=client_tls,
            ticket_ttl_s=config.ticket_ttl_s,
        )
        supervisor = Supervisor(folder, command=command, stop_grace_s=config.stop_grace_s)
        door, pulls = LocalDoor(relay, str(folder / CONNECTOR_SOCKET)), PullServer(relay, server_tls)
        reverse = ReverseDial(client_tls, pulls.answer)
        contact = Contact(folder / "run" / "renewed")
        app = Agent(config.instance, config.version, supervisor, relay, reverse, contact, shut_down=told.set).app()
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=LAST_ANSWERS_S,
            keepalive_timeout=KEEPALIVE_S,
        )
        shared = SharedPort(socket, runner, pulls, server_tls)
        await relay.start()
        await door.start()
        fresh = asyncio.create_task(keep_loaded(tls_folder, server_tls, client_tls))
        try:
            supervisor.adopt()
            await runner.setup()
            await shared.start()
            reverse.keep(config.peers)
            _record(folder, host, port)
            log.info("agent of %s listens on %s:%d", config.instance, host, port)
            await told.wait()
            log.info("agent of %s stops", config.instance)
            await supervisor.stop_all()
        finally:
            fresh.cancel()
            (folder / "run" / "agent.pid.json").unlink(missing_ok=True)
            await reverse.close()
            await shared.close()
            await runner.cleanup()
            await supervisor.let_go()
            await door.close()
            await relay.close()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock that one agent process has, as long as it lives, on its folder."""
    with (folder / "run" / "agent.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"The agent of {folder.resolve()} runs already; run/agent.pid.json names it.") from None
        yield


def _advertised(config: AgentConfig, port: int) -> tuple[str, int]:
    host = config.advertise_host or config.host
    if not config.dialled:
        return host or config.instance, 0
    if host in ANYWHERE:
        raise SpecError(f"The agent listens on {config.host!r}; expected advertise_host, which other agents dial.")
    return host, config.advertise_port or port


def _record(folder: Path, host: str, port: int) -> None:
    write_json(folder / "run" / "agent.pid.json", {**asdict(own_process_id()), "host": host, "port": port})
