"""Machines that turned out to be of no use: each released in a task of its own while others are brought up."""

import asyncio
from collections.abc import Callable, Coroutine

from planner.reconcile import Step, StepKind
from provisioners.leases.journal import Journal, LeaseRow, LeaseState
from thunderctl.deploying.apply import StepResult

Release = Callable[[Step], Coroutine[None, None, tuple[StepResult, ...]]]


class Leaving:
    """`release` ends one lease and proves it gone; how that went is a step's result."""

    def __init__(self, journal: Journal, release: Release) -> None:
        self._journal = journal
        self._release = release
        self._tasks: dict[str, asyncio.Task[tuple[StepResult, ...]]] = {}

    @property
    def under_way(self) -> bool:
        return any(not task.done() for task in self._tasks.values())

    def begin(self, row: LeaseRow, reason: str) -> None:
        """Commit that the machine is not wanted, and ask for its end, once."""
        if row.lease_id in self._tasks:
            return
        if row.state.runs:
            self._journal.update_lease(row.moved(LeaseState.DELETING, reason=reason), was=row.state)
        step = Step(StepKind.RELEASE, row.lease_id, f"{row.instance}: {reason}")
        self._tasks[row.lease_id] = asyncio.create_task(self._release(step))

    async def one_gone(self) -> None:
        """Return when the next one is gone, or is not to be had gone."""
        going = [task for task in self._tasks.values() if not task.done()]
        await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)

    async def all_gone(self) -> tuple[StepResult, ...]:
        """How each went, once all have."""
        return tuple(result for results in await asyncio.gather(*self._tasks.values()) for result in results)

    async def abandon(self) -> None:
        """Stop asking: their leases are DELETING, so the next command goes on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
