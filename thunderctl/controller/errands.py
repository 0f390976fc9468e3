"""What the controller asks of providers while it goes on ticking: who hangs there holds up no route and no agent.

All of it is done under one hold of the deployment's lock, which the tick's own steps share.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from planner.errors import Refused, ThunderError
from thunderctl.store.locks import Held

AT_WORK = "the controller is at work"
JOIN_S = 0.25
"""How long a tick waits for answers, which mostly come soon: what comes later is for the next one."""
BEGIN_S = 30.0
"""So long after the lock was taken nothing more is begun before it was given back: others wait for it."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Errands:
    """Named work beside the ticks, each at most once at a time. `take` takes the deployment's lock; `clock` measures.

    The lock is given back when the last that holds it is done.
    """

    take: Callable[[], AbstractContextManager[Held]]
    clock: Callable[[], float]
    _under_way: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _held: Held | None = None
    _since: float = 0.0
    _holders: int = 0
    _new: list["asyncio.Task[None]"] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold it for the block. Raises Refused where somebody else does: then nothing is under way any more."""
        if self._held is None:
            self._held, self._since = self._stack.enter_context(self.take()), self.clock()
        else:
            self.renew()
        self._holders += 1
        try:
            yield
        finally:
            self._let_go()

    def renew(self) -> None:
        """Put the end of the lock off, which somebody has. Raises Refused where it was taken over."""
        assert self._held is not None
        try:
            self._held.renew()
        except Refused:
            self.cancel()
            raise

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Await it within `lock`, whose end is put off meanwhile: a router that starts on another host outlasts it.

        Raises Refused, and gives up it and all that is under way, where the lock was taken over.
        """
        assert self._held is not None
        try:
            return await self._held.during(work)
        except Refused:
            self.cancel()
            raise

    def begin(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, locked: bool = True) -> None:
        """Have it done, unless it is under way. What is `locked` is begun within `lock`, and not if that is old."""
        if name in self._under_way or (locked and self.clock() - self._since > BEGIN_S):
            return
        self._holders += locked
        task = self._under_way[name] = asyncio.ensure_future(work())
        task.add_done_callback(partial(self._ended, name, locked))
        self._new.append(task)

    async def join(self) -> None:
        """Wait a moment for what was begun since. Raises what anything under way ended with."""
        begun, self._new = self._new, []
        if begun:
            await asyncio.wait(begun, timeout=JOIN_S)
        if self._failed:
            raise self._failed.pop()

    def cancel(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()

    async def close(self) -> None:
        """Give up what is under way, and the lock with it."""
        self.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _ended(self, name: str, locked: bool, task: "asyncio.Task[None]") -> None:
        del self._under_way[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)
        if locked:
            try:
                self._let_go()
            except ThunderError as error:
                log.warning("the lock can't be given back: %s", error.message)

    def _let_go(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._held = None
            self._stack.close()
