"""Carry out steps: each as soon as the ones it waits for are done, all others side by side.

A step that fails takes down only those that wait for it; only credentials that are refused end all the others too.
Every step may be done twice, so a run that was cut off is resumed by looking at what there is and doing what is left.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from planner.errors import AuthError, ThunderError
from planner.reconcile import Step, StepKind

WAITS_FOR: Mapping[StepKind, frozenset[StepKind]] = {
    StepKind.LEASE: frozenset(),
    StepKind.PREPARE: frozenset({StepKind.LEASE, StepKind.STOP}),
    StepKind.START: frozenset({StepKind.PREPARE, StepKind.STOP}),
    StepKind.ROUTE: frozenset({StepKind.START, StepKind.ROUTE}),
    StepKind.DRAIN: frozenset({StepKind.LEASE, StepKind.PREPARE, StepKind.START, StepKind.ROUTE}),
    StepKind.STOP: frozenset({StepKind.LEASE, StepKind.PREPARE, StepKind.START, StepKind.ROUTE, StepKind.DRAIN}),
    StepKind.RELEASE: frozenset({StepKind.STOP, StepKind.DRAIN, StepKind.ROUTE}),
}
"""Which kinds of earlier steps a step waits for; `waits_for` says which of them."""


class StepState(StrEnum):
    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended, and how long it took. `error` is why it failed, or what it was skipped for."""

    step: Step
    state: StepState
    seconds: float = 0.0
    error: ThunderError | None = None


Do = Callable[[Step], Awaitable[None]]
Report = Callable[[StepResult], None]
Narrate = Callable[[str, str], None]
"""Told of long waits: whose (an instance or a replica), and what is being done."""


async def apply(
    steps: Sequence[Step],
    do: Do,
    *,
    subjects: Mapping[str, Sequence[str]],
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[StepResult, ...]:
    """Do every step. `subjects` names the instances of each replica, so that one waits only for its own machines.

    Errors that are not ours are bugs: they are raised once everything has stopped. Cancelling it cancels every step.
    """
    tasks: dict[Step, asyncio.Task[StepResult]] = {}
    at_work: set[asyncio.Task[StepResult]] = set()
    refused: list[AuthError] = []

    def ended(result: StepResult) -> StepResult:
        report(result)
        return result

    async def run(step: Step, before: Sequence[Step]) -> StepResult:
        results = [await tasks[earlier] for earlier in before]
        failed = next((result.error for result in results if result.state is not StepState.DONE), None)
        if why := failed or next(iter(refused), None):
            return ended(StepResult(step, StepState.SKIPPED, error=why))
        started = clock()
        report(StepResult(step, StepState.RUNNING))
        at_work.add(tasks[step])
        try:
            await do(step)
        except AuthError as error:
            refused.append(error)
            for other in at_work - {tasks[step]}:
                other.cancel()
            return ended(StepResult(step, StepState.FAILED, clock() - started, error))
        except ThunderError as error:
            return ended(StepResult(step, StepState.FAILED, clock() - started, error))
        except asyncio.CancelledError:
            if not refused:
                raise
            return ended(StepResult(step, StepState.SKIPPED, clock() - started, refused[0]))
        finally:
            at_work.discard(tasks[step])
        return ended(StepResult(step, StepState.DONE, clock() - started))

    async with asyncio.TaskGroup() as group:
        for index, step in enumerate(steps):
            before = [earlier for earlier in steps[:index] if waits_for(step, earlier, subjects)]
            tasks[step] = group.create_task(run(step, before))
    return tuple(task.result() for task in tasks.values())


def waits_for(step: Step, earlier: Step, subjects: Mapping[str, Sequence[str]]) -> bool:
    """Whether `step` waits for `earlier`, which stands before it in the list."""
    if earlier.what not in WAITS_FOR[step.what]:
        return False
    match step.what, earlier.what:
        case StepKind.PREPARE, StepKind.LEASE:
            return earlier.id == step.id
        case StepKind.STOP, StepKind.DRAIN:
            return (earlier.id, earlier.lease_id) == (step.id, step.lease_id)
        case StepKind.START, StepKind.PREPARE:
            return earlier.id in subjects.get(step.id, ())
    return True
