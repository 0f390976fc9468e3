"""A hundred epochs while 500 requests/s come, and no request fails; writes `benchmarks/results/router_epochs.md`.

.venv/bin/python -m benchmarks.router_epochs [--changes N] [--rate RPS]

The router, four mock engines that count (`counting_engine.py`) and the client are processes of their own, and need a
core; on a host that has less to spare requests only queue up, and a lower rate says more. Requests come at their times
whether or not others were answered. Every answer is read to its end: the count has to go on where the prompt ends, with
no number missing and none twice. Each epoch pairs the engines anew, flips some, or leaves some out.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.counting_engine import start_engine
from benchmarks.router_process import ADMIN_TOKEN, RouterProcess, mock_router
from runtime.router.engines.pool import ConnectionPool
from runtime.router.watching.observed import percentile

TARGET = Path(__file__).parent / "results" / "router_epochs.md"
CHANGES, RATE_RPS, BETWEEN_S = 100, 500.0, 0.25
STEP_S, PREFILL_S, TOKENS = 0.02, 0.005, 4
PATIENCE_S, KEEP_S = 60.0, 30.0
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
PLANS: Sequence[tuple[Mapping[str, str], Sequence[tuple[str, str]]]] = (
    ({"p0": "prefill", "p1": "prefill", "d0": "decode", "d1": "decode"}, [("p0", "d0"), ("p1", "d1")]),
    ({"p0": "prefill", "p1": "prefill", "d0": "decode", "d1": "decode"}, [("p0", "d1"), ("p1", "d0")]),
    ({"p0": "prefill", "d1": "prefill", "p1": "decode", "d0": "decode"}, [("p0", "p1"), ("d1", "d0")]),
    ({"p0": "prefill", "d0": "decode"}, [("p0", "d0")]),
    ({"p1": "prefill", "d0": "decode", "d1": "mixed"}, [("p1", "d0"), ("d1", "d1")]),
)
"""Who does what, and the pairs, of equal share; a pair with itself is local."""


@dataclass(slots=True)
class Seen:
    """What became of the requests, and how long each epoch took to be put in force. Times in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    ttft_s: list[float] = field(default_factory=list)
    put_s: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--rate", type=float, default=RATE_RPS)
    asked = parser.parse_args()
    with ExitStack() as stack:
        ports = {}
        for name in PLANS[0][0]:
            engine = start_engine(step_s=STEP_S, prefill_s=PREFILL_S)
            stack.callback(engine.kill)
            ports[name] = engine.port
        router = stack.enter_context(mock_router(ports, max_in_flight=16_384))
        process = psutil.Process(router.pid)
        before, start = sum(process.cpu_times()[:2]), time.monotonic()
        seen = asyncio.run(_run(router, ports, asked.changes, asked.rate))
        busy = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - start)
    text = _written(seen, asked.changes, asked.rate, busy)
    print(text)
    if asked.changes >= CHANGES:
        TARGET.write_text(text, encoding="utf-8")
    sys.exit(1 if seen.outcomes.keys() - {"ok"} else 0)


async def _run(router: RouterProcess, ports: Mapping[str, int], changes: int, rate_rps: float) -> Seen:
    seen, loop = Seen(), asyncio.get_running_loop()
    pool = ConnectionPool("127.0.0.1", router.port, tls=None, server_name=None, connect_s=PATIENCE_S, keep_s=KEEP_S)
    async with aiohttp.ClientSession(router.url) as http, asyncio.TaskGroup() as group:
        changing = group.create_task(_change(http, ports, changes, seen))
        start, number = loop.time(), 0
        while not changing.done():
            number += 1
            group.create_task(_ask(pool, number, seen))
            await asyncio.sleep(max(start + number / rate_rps - loop.time(), 0.0))
    pool.close()
    return seen


async def _change(http: aiohttp.ClientSession, ports: Mapping[str, int], changes: int, seen: Seen) -> None:
    plans = cycle(PLANS)
    for epoch in range(2, changes + 2):
        await asyncio.sleep(BETWEEN_S)
        start = time.monotonic()
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with http.put("/admin/routes", json=_routes(epoch, ports, *next(plans)), headers=headers) as answer:
            if answer.status != 200:
                seen.outcomes[f"epoch refused: {answer.status}"] += 1
        seen.put_s.append(time.monotonic() - start)
    await asyncio.sleep(BETWEEN_S)


async def _ask(pool: ConnectionPool, number: int, seen: Seen) -> None:
    """Every other request streams."""
    streams = number % 2 == 0
    body = json.dumps({"prompt": f"count on from {number}", "max_tokens": TOKENS, "stream": streams}).encode()
    start = time.monotonic()
    connection = await pool.take()
    try:
        await connection.ask(HEAD % len(body) + body, PATIENCE_S)
        seen.ttft_s.append(time.monotonic() - start)
        said = (await connection.whole(PATIENCE_S)).decode()
        outcome = _judged(said, number, streams=streams) if connection.status == 200 else f"status {connection.status}"
    except OSError as error:
        outcome, said = type(error).__name__, str(error)
    finally:
        pool.give_back(connection)
    seen.outcomes[outcome] += 1
    if outcome != "ok":
        seen.told.append(said)


def _judged(said: str, number: int, *, streams: bool) -> str:
    if streams and not said.endswith("data: [DONE]\n\n"):
        return "cut off"
    lines = said.split("\n\n")[:-2] if streams else [said]
    choices = [json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in lines if '"choices"' in line]
    expected = "".join(f" {number + place}" for place in range(1, TOKENS + 1))
    return "ok" if "".join(choices) == expected and "error" not in said else "wrong"


def _routes(
    epoch: int, ports: Mapping[str, int], phases: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    urls = {name: f"http://127.0.0.1:{ports[name]}" for name in phases}
    return {
        "schema": "thunder.routes/v1",
        "epoch": epoch,
        "model": "mock",
        "replicas": [{"id": name, "phase": phase, "url": urls[name]} for name, phase in phases.items()],
        "routes": [
            {
                "prefill": source,
                "decode": target,
                "share": 1 / len(pairs),
                "codec": "local" if source == target else "int4",
            }
            for source, target in pairs
        ],
    }


def _written(seen: Seen, changes: int, rate_rps: float, busy: float) -> str:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in seen.outcomes.most_common())
    return f"""\
# Epochs under load

Written by `.venv/bin/python -m benchmarks.router_epochs` on {os.cpu_count()} cores, {platform.machine()}, Python
{platform.python_version()}, load average {os.getloadavg()[0]:.1f}. Measured with mock engines: {PREFILL_S * 1e3:.0f} ms
a prompt, {STEP_S * 1e3:.0f} ms a token, {TOKENS} tokens an answer; every other one streams.

{changes} epochs, one every {BETWEEN_S * 1e3:.0f} ms, at {rate_rps:.0f} requests/s: **{seen.outcomes.total()} requests,
{outcomes}**. The router used {busy:.0%} of a core.

| ms | p50 | p99 | most |
|---|--:|--:|--:|
| request to its first byte | {_times(seen.ttft_s)} |
| epoch, pushed to in force | {_times(seen.put_s)} |
{"".join(f"- `{said[:200]}`" for said in seen.told[:5])}"""


def _times(found: Sequence[float]) -> str:
    shown = (percentile(found, 0.5), percentile(found, 0.99), max(found))
    return " | ".join(f"{(seconds or 0.0) * 1e3:.1f}" for seconds in shown)


if __name__ == "__main__":
    main()
