"""The soak's first world: engines that count, which are killed and come back."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from benchmarks.counting_engine import CountingEngine, start_engine
from benchmarks.router_process import RouterProcess, mock_router
from benchmarks.router_soak_load import Tally, closed_loop, counted, open_loop
from benchmarks.router_soak_record import Soak

ENGINES = ("p0", "p1", "d0", "d1", "d2")
KILLED = ("d0", "p0", "d1", "p1", "d2")
STEP_S, PREFILL_S = 0.02, 0.005
LOAD_SHARE = 0.6
AT_ONCE = 256
CAPACITY_SHARE, MOST_CAPACITY_S = 0.2, 20.0
DEAD_SHARE, MOST_DEAD_S = 0.25, 5.0
MAX_IN_FLIGHT = 1024
SEED = 7
WORLD = (
    f"Two prefill and three decode engines that count, {PREFILL_S * 1e3:.0f} ms a prompt and {STEP_S * 1e3:.0f} ms a\n"
    "token. They, the clients and the router share the cores. Three of four requests are streams."
)


async def soak_mocks(*, seconds: float, kill_every_s: float, at_once: int = AT_ONCE) -> Soak:
    """Kill an engine every so often, under `LOAD_SHARE` of the rate at which `at_once` clients were served before."""
    soak = Soak(WORLD, seconds=seconds)
    with fleet() as engines, mock_router(engines.ports, max_in_flight=MAX_IN_FLIGHT) as router:
        capacity_rps = await measured_rps(router, at_once, min(seconds * CAPACITY_SHARE, MOST_CAPACITY_S))
        rate_rps = capacity_rps * LOAD_SHARE
        soak.load = f"{rate_rps:.0f} requests/s, {LOAD_SHARE:.0%} of {capacity_rps:.0f} ({at_once} clients, no kills)"
        beside = [
            asyncio.create_task(soak.watch(psutil.Process(router.pid))),
            asyncio.create_task(engines.kill_in_turn(soak.killed, kill_every_s)),
        ]
        await open_loop(router.url, counted, soak.tally, seconds=seconds, rate_rps=rate_rps, seed=SEED)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await soak.ask_router(router.url)
    return soak


async def measured_rps(router: RouterProcess, at_once: int, seconds: float) -> float:
    tally = Tally()
    await closed_loop(router.url, counted, tally, seconds=seconds, at_once=at_once, seed=SEED)
    assert not tally.wrong, f"without a kill something is wrong: {tally.wrong}"
    return len(tally.seconds) / seconds


@dataclass(slots=True)
class Fleet:
    """The engines that run, by name; one that is killed comes back to its port."""

    running: dict[str, CountingEngine] = field(default_factory=dict)

    @property
    def ports(self) -> dict[str, int]:
        return {name: engine.port for name, engine in self.running.items()}

    async def kill_in_turn(self, killed: list[str], every_s: float) -> None:
        """Kill one after the other until cancelled, and have each back before the next."""
        dead_s = min(every_s * DEAD_SHARE, MOST_DEAD_S)
        for name in itertools.cycle(KILLED):
            await asyncio.sleep(every_s - dead_s)
            self.running[name].kill()
            killed.append(name)
            await asyncio.sleep(dead_s)
            self.running[name] = start(self.running[name].port)


def start(port: int = 0) -> CountingEngine:
    return start_engine(step_s=STEP_S, prefill_s=PREFILL_S, port=port)


@contextmanager
def fleet() -> Iterator[Fleet]:
    engines = Fleet()
    try:
        engines.running |= {name: start() for name in ENGINES}
        yield engines
    finally:
        for engine in engines.running.values():
            engine.kill()
