"""An event loop whose clock jumps to the next timer whenever nothing is left to do: hours pass in milliseconds.

What blocks (a worker thread's work, an answer over a socket) is done in place and takes no time, so that a run depends
on nothing but its timers.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))
        self.set_default_executor(_InPlace())

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    """Never waits for what a timer would end: it moves the clock instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            return super().select(None)
        self._loop.now += timeout
        return []


class _InPlace(ThreadPoolExecutor):
    """Does what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
