"""Waiting for what comes on a connection until a deadline that may move, without a timer for each wait."""

import asyncio


class Waiting:
    """Of one task at a time. Its timer rings at the first deadline, and is set again if that has moved meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def until(self, deadline: float) -> None:
        """Wait to be woken, by the loop's clock no longer than so. Raises TimeoutError, and what it is woken with."""
        waiter = self._waiter = self._loop.create_future()
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._set_timer()
        try:
            await waiter
        finally:
            self._waiter = None

    def put_off(self, deadline: float) -> None:
        """Who waits may wait longer."""
        self._deadline = deadline

    def wake(self, error: Exception | None = None) -> None:
        """Let who waits go on, or hear of an error."""
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)

    def close(self) -> None:
        """Nobody will wait any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self.close()
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self.wake(TimeoutError())
