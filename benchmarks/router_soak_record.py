"""What a soak saw: the requests, the kills, the router's memory and what the router says of itself."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean

import aiohttp
import psutil

from benchmarks.router_process import resident_mb
from benchmarks.router_soak_load import Tally

WARM_UP_SHARE, MEAN_SHARE = 0.2, 0.1
SAMPLE_EVERY_S = 0.5


@dataclass(slots=True)
class Soak:
    """One soak, so far. `world` and `load` say in words what stood behind the router and what came to it."""

    world: str
    load: str = ""
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    killed: list[str] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    legs_failed: int = 0
    moved: int = 0

    @property
    def warm_mb(self) -> float:
        begin = int(len(self.resident_mb) * WARM_UP_SHARE)
        return fmean(self.resident_mb[begin : begin + self._mean_of])

    @property
    def last_mb(self) -> float:
        return fmean(self.resident_mb[-self._mean_of :])

    @property
    def growth(self) -> float:
        return self.last_mb / self.warm_mb - 1

    @property
    def _mean_of(self) -> int:
        return max(int(len(self.resident_mb) * MEAN_SHARE), 1)

    def quantile_s(self, share: float) -> float:
        """Of the seconds that right answers took."""
        seconds = sorted(self.tally.seconds)
        return seconds[min(int(share * len(seconds)), len(seconds) - 1)] if seconds else float("nan")

    async def watch(self, router: psutil.Process) -> None:
        """Note the router's memory until cancelled, or until it is gone."""
        with suppress(psutil.NoSuchProcess):
            while True:
                self.resident_mb.append(resident_mb(router))
                await asyncio.sleep(SAMPLE_EVERY_S)

    async def ask_router(self, url: str, token: str = "") -> None:
        """Take over what its metrics count."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession(headers=headers) as http, http.get(f"{url}/metrics") as response:
            text = await response.text()
        self.legs_failed = _total(text, "thunder_leg_failures_total")
        self.moved = _total(text, "thunder_moves_total")


def _total(metrics: str, name: str) -> int:
    return int(sum(float(value) for value in re.findall(rf"^{name}\{{.*\}} (\S+)$", metrics, re.MULTILINE)))
