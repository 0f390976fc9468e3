"""The soak's second world: a deployment of real engines on this machine, which are killed and come back by `up`."""

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.router_soak_load import answer, closed_loop
from benchmarks.router_soak_record import Soak

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIENTS = 3
PROMPTS = (
    "def read_lines(path):",
    "class Stack:",
    "import json\n\ndef load(",
    "for name, value in",
    "    return self.",
)
LENGTHS = (16, 64, 192)
SEED = 11
WORLD = (
    "One prefill and two decode engines (vLLM on CPU, tiny-llama, KV as it is) behind their agents, brought up by\n"
    "`thunderctl up`; so is what was killed. All share the cores. Greedy answers must be as before the first kill."
)


async def soak_engines(*, seconds: float, kill_every_s: float) -> Soak:
    """Kill an engine every so often, or when the last is back, under clients that ask one request after the other."""
    soak = Soak(WORLD, load=f"{CLIENTS} clients, each of which asks again when it was answered", seconds=seconds)
    async with deployment() as home:
        status = await home.status()
        url = status["endpoint"].removesuffix("/v1")
        ask = Greedy()
        await ask.learn(url)
        router = json.loads((home.folder / "state/deployments/default/router/router.json").read_text())
        watching = asyncio.create_task(soak.watch(psutil.Process(router["pid"])))
        await asyncio.gather(
            closed_loop(url, ask, soak.tally, seconds=seconds, at_once=CLIENTS, seed=SEED),
            home.kill_in_turn(soak.killed, kill_every_s, seconds),
        )
        await soak.ask_router(url)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return soak


@dataclass(slots=True)
class Greedy:
    """Asks for greedy answers, and knows what they were when nothing was killed."""

    known: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)

    async def learn(self, url: str) -> None:
        async with aiohttp.ClientSession() as http:
            for asked in itertools.product(PROMPTS, LENGTHS):
                self.known[asked] = await answer(http, url, body_of(*asked, streamed=True))

    async def __call__(self, http: aiohttp.ClientSession, url: str, rng: random.Random) -> str:
        asked = rng.choice(PROMPTS), rng.choice(LENGTHS)
        said = await answer(http, url, body_of(*asked, streamed=rng.random() < 0.75))
        if said == self.known[asked]:
            return ""
        return f"{asked}: {said[0]!r:.60} in place of {self.known[asked][0]!r:.60}"


def body_of(prompt: str, tokens: int, *, streamed: bool) -> dict[str, Any]:
    return {"model": "tiny-llama", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": streamed}


@dataclass(frozen=True, slots=True)
class Home:
    """A deployment that is up, in a folder with its spec."""

    folder: Path

    async def run(self, *arguments: str) -> str:
        """A command's stdout. Raises RuntimeError when it fails."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "thunderctl", *arguments),
            cwd=self.folder,
            env=os.environ | {"THUNDER_HOME": str(self.folder / "state")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, said = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"thunderctl {' '.join(arguments)}: {said.decode()}")
        return out.decode()

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.run("status", "--json"))
        return found

    async def kill_in_turn(self, killed: list[str], every_s: float, seconds: float) -> None:
        """Kill one after the other for so long, each when the one before is back."""
        until = time.monotonic() + seconds
        for turn in itertools.count():
            if time.monotonic() > until:
                return
            due = time.monotonic() + every_s
            replicas = sorted((await self.status())["replicas"], key=lambda replica: replica["id"])
            replica = replicas[turn % len(replicas)]
            os.kill(replica["pid"], signal.SIGKILL)
            killed.append(f"{replica['id']} ({replica['phase']})")
            await asyncio.sleep(1.0)  # its agent sees it
            await self.run("up", "--yes")
            await asyncio.sleep(max(due - time.monotonic(), 0.0))


@asynccontextmanager
async def deployment() -> AsyncIterator[Home]:
    spec = (EXAMPLES / "local.toml").read_text(encoding="utf-8")
    spec = spec.replace('"int4" ', '"raw" ').replace('preset = "conversation"', f'trace = "{EXAMPLES}/writing.csv"')
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name))
        (home.folder / "thunder.toml").write_text(spec, encoding="utf-8")
        try:
            await home.run("up", "--yes")
            yield home
        finally:
            await home.run("down", "--yes")
