"""The store as the API reads it: over a connection of its own, in a thread of its own.

A store that hangs so keeps the API's readers waiting, and no tick of the controller.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from planner.errors import ThunderError
from thunderctl.store.store import Store

ANSWER_S = 10.0
CLOSE_S = 2.0
T = TypeVar("T")


@dataclass(slots=True)
class Stored:
    """Opened when it is first asked, and again after it could not be."""

    open_store: Callable[[], Store] = Store
    answer_s: float = ANSWER_S
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "api-store"))
    _store: Store | None = None

    async def ask(self, question: Callable[[Store], T]) -> T:
        """What it says. Raises ThunderError where the store does, or gives no answer in time."""
        asking = asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)
        try:
            async with asyncio.timeout(self.answer_s):
                return await asyncio.shield(asking)
        except TimeoutError as error:
            asking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise ThunderError(
                f"The store gave no answer within {self.answer_s:g} s.",
                hint="Another process may hold it, or its server is slow. Ask again.",
            ) from error

    async def close(self) -> None:
        """A store that hangs is left: a thread can't be ended."""
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        await asyncio.wait({closing}, timeout=CLOSE_S)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Callable[[Store], T]) -> T:
        if self._store is None:
            self._store = self.open_store()
        return question(self._store)

    def _shut(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
