"""A prefill leg that goes on while a decode leg waits for its KV: the ticket is said before all of it is computed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class Prefilling:
    """A leg in a task of its own. It says by `told` that its ticket is there, while it goes on, or it ends without."""

    def __init__(self, leg: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leg = asyncio.create_task(leg(self._told))
        self._leg.add_done_callback(lambda _: self._told())

    @property
    def goes_on(self) -> bool:
        return not self._leg.done()

    async def until_ticket(self) -> None:
        """Wait until its ticket is there or it has ended. Raises what the leg raises."""
        await self._news
        if self._leg.done():
            self._leg.result()

    @asynccontextmanager
    async def awaited(self, begun: Callable[[], bool]) -> AsyncIterator[None]:
        """What is done meanwhile ends with the leg's failure, unless the client's answer has `begun`. Raises that."""
        try:
            async with asyncio.timeout(None) as limit:

                def check(leg: "asyncio.Task[None]") -> None:
                    if not leg.cancelled() and leg.exception() is not None and not begun():
                        limit.reschedule(0.0)

                self._leg.add_done_callback(check)
                try:
                    yield
                finally:
                    self._leg.remove_done_callback(check)
        except TimeoutError:
            if limit.expired():
                self._leg.result()
            raise

    async def end(self) -> None:
        """Break it off, unless it has ended. What it raises is nobody's any more."""
        self._leg.cancel()
        await asyncio.wait({self._leg})
        if not self._leg.cancelled():
            self._leg.exception()

    def _told(self) -> None:
        if not self._news.done():
            self._news.set_result(None)
