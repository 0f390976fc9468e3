"""A load as clients bring it: each request at its time, whatever became of those before it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from thunderctl.bench.load import Answer, NoAnswer
from thunderctl.bench.tally import Tally

Prepare = Callable[[int], bytes]
"""A request of that number, ready to be sent."""
Ask = Callable[[int, bytes, float], Awaitable[Answer]]
"""Sends it: number, request, and when it was due by the clock, from which its answer's times count. Raises NoAnswer."""


async def play(tally: Tally, prepare: Prepare, ask: Ask, *, clock: Callable[[], float] = time.perf_counter) -> None:
    """Send every request of the tally when it is due, and wait for the last answer.

    What is sent is made ready before it is due. Cancelled, the tally holds what came until then.
    """
    started_at = clock()

    async def one(number: int, request: bytes, due_at: float) -> None:
        tally.sent(number, clock() - started_at)
        try:
            tally.answered(number, await ask(number, request, due_at))
        except NoAnswer as error:
            tally.failed(number, error.cause)

    async with asyncio.TaskGroup() as under_way:
        for number, due_s in enumerate(tally.requests.arrival_s.tolist()):
            request = prepare(number)
            await asyncio.sleep(max(0.0, started_at + due_s - clock()))
            under_way.create_task(one(number, request, started_at + due_s))
