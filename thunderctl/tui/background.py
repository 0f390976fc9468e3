"""A loop in a thread of its own: what it waits for, or blocks on, holds up neither the screen nor its end."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """Use as a context. Leaving it cancels what runs there and waits for nothing."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="status reading", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(timeout=1.0)  # one that blocks is left to the end of the process

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, or its error. Cancelling this cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _end(self) -> None:
        running = asyncio.all_tasks(self._loop)
        for task in running:
            task.cancel()
        self._ending = self._loop.create_task(self._stop(running))

    async def _stop(self, running: "set[asyncio.Task[Any]]") -> None:
        await asyncio.gather(*running, return_exceptions=True)
        self._loop.stop()
