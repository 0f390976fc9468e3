"""Load for a soak: requests one after the other or at a rate, every answer held against what it must say."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.counting_engine import START

TIMEOUT = aiohttp.ClientTimeout(total=120)
LENGTHS = (4, 16, 64)
STREAMED_SHARE = 0.75

Ask = Callable[[aiohttp.ClientSession, str, random.Random], Awaitable[str]]
"""Puts one request to a router; what was wrong with the answer, empty when nothing was."""


@dataclass(slots=True)
class Tally:
    """What became of the requests: `seconds` of those that were answered right, and how often each thing went wrong."""

    seconds: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def asked(self) -> int:
        return len(self.seconds) + self.wrong.total()


async def closed_loop(url: str, ask: Ask, tally: Tally, *, seconds: float, at_once: int, seed: int) -> None:
    """So many clients, each of which asks again when it was answered."""
    until = time.monotonic() + seconds

    async def client(http: aiohttp.ClientSession, rng: random.Random) -> None:
        while time.monotonic() < until:
            await _one(http, url, ask, rng, tally)

    async with _session() as http:
        await asyncio.gather(*(client(http, random.Random(seed + number)) for number in range(at_once)))


async def open_loop(url: str, ask: Ask, tally: Tally, *, seconds: float, rate_rps: float, seed: int) -> None:
    """Requests that come whether others were answered or not, as a Poisson process."""
    rng, under_way = random.Random(seed), set()
    due = time.monotonic()
    until = due + seconds
    async with _session() as http:
        while (due := due + rng.expovariate(rate_rps)) < until:
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            task = asyncio.create_task(_one(http, url, ask, rng, tally))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


async def counted(http: aiohttp.ClientSession, url: str, rng: random.Random) -> str:
    """A request of a counting engine, whose answer is known."""
    tokens = rng.choice(LENGTHS)
    body = {"prompt": "lorem " * rng.randrange(200) + str(START), "max_tokens": tokens}
    wanted = "".join(f" {START + number}" for number in range(1, tokens + 1))
    said = await answer(http, url, {**body, "stream": rng.random() < STREAMED_SHARE})
    return "" if said == (wanted, "length") else f"said {said!r:.60}"


async def answer(http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[str, str]:
    """The text of a completion and how it ended. Raises ValueError for an answer that is no whole one."""
    async with http.post(f"{url}/v1/completions", json=body) as response:
        content = await response.read()
    if response.status != 200:
        raise ValueError(f"{response.status} {content[:200].decode()}")
    if not body["stream"]:
        (choice,) = json.loads(content)["choices"]
        return choice["text"], choice["finish_reason"]
    *events, done = [event.removeprefix(b"data: ") for event in content.split(b"\n\n") if event]
    if done != b"[DONE]":
        raise ValueError(f"ends with {done[:200].decode()}")
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["text"] for choice in choices), "".join(choice["finish_reason"] or "" for choice in choices)


async def _one(http: aiohttp.ClientSession, url: str, ask: Ask, rng: random.Random, tally: Tally) -> None:
    began = time.monotonic()
    try:
        wrong = await ask(http, url, rng)
    except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
        wrong = f"{type(error).__name__}: {error}"
    if wrong:
        tally.wrong[wrong] += 1
    else:
        tally.seconds.append(time.monotonic() - began)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0))
