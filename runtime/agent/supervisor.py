"""Keeps the engines of one instance: starts what it is told to, knows each one's state, and stops them.

States: starting → ready → draining → gone, or failed with the reason. An engine that ends by itself has failed; it is
started again only when it is asked for again. A restarted agent finds its engines by their records in run/.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from planner.errors import Refused, ReplicaUnhealthy
from runtime.agent.engine_http import EngineHttp, Load
from runtime.agent.engine_process import EngineProcess, log_path
from runtime.agent.logs import tail, why_it_died
from runtime.agent.shortening import MOST_BYTES
from runtime.engine import EngineCommand, socket_path
from runtime.generation import default_max_tokens
from runtime.messages import EngineHealth, EngineSpec

log = logging.getLogger(__name__)

STARTING, READY, DRAINING, FAILED = "starting", "ready", "draining", "failed"
LIVE = (STARTING, READY, DRAINING)
CORE_DEAD = 503
LOG_LINES_READ = 400
AGAIN_S = 60.0
"""A log that can't be moved aside is tried again after so long."""


@dataclass(slots=True)
class _Engine:
    process: EngineProcess
    http: EngineHttp
    default_max_tokens: int | None
    state: str = STARTING
    detail: str = ""
    watch: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """The engines of the instance whose folder is `folder`. `command` builds what is run for a spec."""

    def __init__(
        self,
        folder: Path,
        *,
        command: Callable[[EngineSpec], EngineCommand],
        stop_grace_s: float,
        poll_s: float = 0.25,
        log_bytes: int = MOST_BYTES,
    ) -> None:
        self._folder = folder
        self._command = command
        self._stop_grace_s = stop_grace_s
        self._poll_s = poll_s
        self._log_bytes = log_bytes
        self._engines: dict[str, _Engine] = {}

    def start(self, spec: EngineSpec) -> None:
        """Start an engine. The same spec again does nothing while it lives; one that failed is started again.

        Raises Refused when another spec runs under this name or the engine is being stopped, OSError where it can't be
        launched.
        """
        known = self._engines.get(spec.replica)
        if known and known.state in LIVE:
            if known.process.spec != spec:
                raise Refused(f"Replica {spec.replica} runs with another specification; stop it first.")
            if known.state == DRAINING:
                raise Refused(f"Replica {spec.replica} is being stopped; ask again when it is gone.")
            return
        self._supervise(EngineProcess.launch(self._folder, spec, self._command(spec)))
        log.info("engine %s started", spec.replica)

    def adopt(self) -> None:
        """Find the engines of an earlier agent process: supervise those that run, clean up after those that don't."""
        for record in sorted((self._folder / "run").glob("*.pid.json")):
            if record.name == "agent.pid.json":
                continue
            try:
                process = EngineProcess.find(self._folder, record)
            except (ValueError, KeyError, TypeError) as error:
                log.error("%s can't be read and is put aside: %r", record, error)
                record.rename(record.with_suffix(".unreadable"))
                continue
            self._supervise(process)
            log.info("engine %s found, pid %d", process.spec.replica, process.process.pid)

    async def stop(self, replica: str) -> None:
        """Stop an engine: it finishes its requests within the grace. One that is gone is a success."""
        engine = self._engines.get(replica)
        if engine is None:
            return
        engine.state = DRAINING
        if engine.watch is not None:
            engine.watch.cancel()
        await engine.process.end(self._stop_grace_s)
        if self._engines.get(replica) is engine:
            del self._engines[replica]
        await engine.http.close()  # last: nobody is to be sent to a socket that is closed
        log.info("engine %s stopped", replica)

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(replica) for replica in list(self._engines)))

    async def let_go(self) -> None:
        """Stop watching, and leave the engines to a later agent process."""
        for engine in self._engines.values():
            if engine.watch is not None:
                engine.watch.cancel()
            await engine.http.close()

    def http(self, replica: str) -> EngineHttp:
        """The socket of a live engine. Raises ReplicaUnhealthy naming its state."""
        engine = self._engines.get(replica)
        if engine is None or engine.state not in LIVE:
            raise ReplicaUnhealthy(f"Replica {replica} is {engine.state if engine else 'not here'}.")
        return engine.http

    def log(self, replica: str, lines: int) -> str:
        """The end of an engine's log, also of one that is gone."""
        return "\n".join(tail(log_path(self._folder, replica), lines))

    def knows(self, replica: str) -> bool:
        return replica in self._engines or log_path(self._folder, replica).exists()

    async def health(self) -> tuple[EngineHealth, ...]:
        return tuple(await asyncio.gather(*(_health(engine) for engine in list(self._engines.values()))))

    def _supervise(self, process: EngineProcess) -> _Engine:
        spec = process.spec
        limit = default_max_tokens(self._folder / spec.model, spec.extra_args)
        engine = _Engine(process, EngineHttp(str(self._folder / socket_path(spec.replica))), limit)
        self._engines[spec.replica] = engine
        engine.watch = asyncio.create_task(self._watch(engine))
        return engine

    async def _watch(self, engine: _Engine) -> None:
        """Follow one engine until it ends: ready when /health says so, dead when its process or its core is."""
        not_before = 0.0
        while engine.process.is_alive():
            status = await engine.http.status()
            if status == 200 and engine.state == STARTING:
                engine.state = READY
                log.info("engine %s is ready", engine.process.spec.replica)
                _record(engine.process)
            if status == CORE_DEAD and engine.state == READY:
                await self._failed(engine, "The engine core is dead: /health says 503.")
                return
            if time.monotonic() >= not_before and not await _shorten_log(engine.process, self._log_bytes):
                not_before = time.monotonic() + AGAIN_S
            await asyncio.sleep(self._poll_s)
        await self._failed(engine, engine.process.how_it_ended())

    async def _failed(self, engine: _Engine, reason: str) -> None:
        process = engine.process
        lines = tail(log_path(self._folder, process.spec.replica), LOG_LINES_READ, start=process.log_start)
        engine.detail = "\n".join([reason, why_it_died(lines)]).strip()
        log.error("engine %s failed: %s", process.spec.replica, engine.detail.splitlines()[:2])
        await process.sweep()
        engine.state = FAILED  # only now: from here on it may be started again, into the same files
        await engine.http.close()


def _record(process: EngineProcess) -> None:
    """A disk that takes nothing is no reason to watch an engine no longer: the record of its launch names it too."""
    try:
        process.record()
    except OSError as error:
        log.warning("what engine %s would leave behind can't be written down: %s", process.spec.replica, error)


async def _shorten_log(process: EngineProcess, most_bytes: int) -> bool:
    """Whether it is as short as it is to be. Where that fails the engine is watched all the same."""
    try:
        if await process.shorten_log(most_bytes):
            _record(process)
    except OSError as error:
        log.warning("the log of engine %s can't be moved aside: %s", process.spec.replica, error)
        return False
    return True


async def _health(engine: _Engine) -> EngineHealth:
    load = await engine.http.load() if engine.state in (READY, DRAINING) else Load()
    process = engine.process.process if engine.state in LIVE else None
    return EngineHealth(
        replica=engine.process.spec.replica,
        state=engine.state,
        pid=process.pid if process else None,
        started_at=process.started_at if process else None,
        detail=engine.detail,
        running=load.running,
        waiting=load.waiting,
        kv_usage=load.kv_usage,
        spec=engine.process.spec,
        default_max_tokens=engine.default_max_tokens,
    )
