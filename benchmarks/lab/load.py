"""Clients that go on whatever happens: requests at their times in a thread beside us, each with what became of it."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from planner.simulation.scenario import Requests
from planner.workload import Slo
from thunderctl.bench.entry import enter
from thunderctl.bench.load import Answer, answer
from thunderctl.bench.open_loop import play
from thunderctl.bench.prompts import requests_ready
from thunderctl.bench.tally import Tally
from thunderctl.secrets import Secret

WITHIN_S = 60.0
"""A request that takes longer has failed."""


@dataclass(slots=True)
class Load:
    """One stream of requests. Moments are seconds since it began."""

    tally: Tally
    began_at: float = 0.0

    @property
    def now_s(self) -> float:
        return time.perf_counter() - self.began_at

    def wait_until(self, moment_s: float) -> None:
        time.sleep(max(0.0, moment_s - self.now_s))

    def troubled_s(self, moment_s: float) -> float:
        """From that moment until the last request came that failed or missed a target; 0 where none did."""
        came, bad = self.tally.requests.arrival_s, self._is_bad()
        late = came[bad & (came >= moment_s)]
        return float(late.max() - moment_s) if len(late) else 0.0

    def worst_ttft_s(self, moment_s: float) -> float:
        """Of the requests that came since and were answered."""
        tally = self.tally
        ttft_s = tally.first_s - tally.requests.arrival_s
        counted = ttft_s[np.isfinite(ttft_s) & (tally.requests.arrival_s >= moment_s)]
        return float(counted.max()) if len(counted) else 0.0

    def _is_bad(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Of each request: whether it failed, or missed one of the targets."""
        tally = self.tally
        tokens = np.maximum(tally.requests.output - 1, 1)
        with np.errstate(invalid="ignore"):
            ttft_s, tpot_s = tally.first_s - tally.requests.arrival_s, (tally.last_s - tally.first_s) / tokens
        met: np.ndarray[tuple[int], np.dtype[np.bool_]] = (ttft_s <= tally.slo.ttft_s) & (tpot_s <= tally.slo.tpot_s)
        return ~met


def failures_said(asked: int, causes: Counter[str]) -> str:
    """How many of those asked failed, and why."""
    said = ", ".join(f"{count} x {cause}" for cause, count in causes.most_common(3))
    return f"{causes.total()} of {asked}{f' ({said})' if said else ''}"


@contextmanager
def loading(endpoint: str, requests: Requests, slo: Slo, seed: int) -> Iterator[Load]:
    """Requests are sent to a base URL from now on. The block's end waits for the last one; an error ends them all."""
    door, model = asyncio.run(enter(endpoint, Secret("")))
    load, loop = Load(Tally.of(requests, slo)), asyncio.new_event_loop()

    async def ask(number: int, request: bytes, due_at: float) -> Answer:
        return await answer(door, request, int(requests.output[number]), due_at=due_at, within_s=WITHIN_S)

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(playing)

    playing = loop.create_task(play(load.tally, requests_ready(door, model, requests, seed), ask))
    thread = threading.Thread(target=run, name="load", daemon=True)
    load.began_at = time.perf_counter()
    thread.start()
    try:
        yield load
    except BaseException:
        loop.call_soon_threadsafe(playing.cancel)
        raise
    finally:
        thread.join()
        loop.close()
