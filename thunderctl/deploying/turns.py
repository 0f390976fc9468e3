"""Whose turn it is to change a deployment: `up` holds the lock throughout, a replacement for each change alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import Any, Protocol, TypeVar

from planner.errors import Refused
from thunderctl.store.locks import Held
from thunderctl.store.moved import MovedAway

LOOK_EVERY_S = 0.25

T = TypeVar("T")


class Turn(Protocol):
    """`beside`: others may change the deployment between two changes of ours."""

    @property
    def beside(self) -> bool: ...

    async def change(self, instance: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await the work that changes something for an instance (empty: for none) under the deployment's lock.

        Never within another change.
        """


class Throughout:
    """Of a command that holds the lock from its first step to its last."""

    beside = False

    async def change(self, _instance: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await work()


class Turns:
    """Takes the lock anew for each change, one at a time, and waits for whoever has it.

    `look` reads again what is wanted, under the lock and before the change, and raises where that has become another
    thing than what is being done for the instance. `note` is told that a change was made for it.
    """

    beside = True

    def __init__(
        self,
        take: Callable[[], AbstractContextManager[Held]],
        look: Callable[[str], None],
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._take = take
        self._look = look
        self._note = note
        self._one = asyncio.Lock()

    async def change(self, instance: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Raises Refused where somebody took the lock over meanwhile, and MovedAway where it is to be had no more."""
        async with self._one, self._taken() as held:
            self._look(instance)
            done = await held.during(work())
            self._note(instance)
            return done

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[Held]:
        """The event loop goes on while somebody else has it: machines are being prepared meanwhile."""
        with ExitStack() as stack:
            while True:
                try:
                    held = stack.enter_context(self._take())
                    break
                except MovedAway:
                    raise
                except Refused:
                    await asyncio.sleep(LOOK_EVERY_S)
            yield held
