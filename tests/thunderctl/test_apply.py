"""Steps run as soon as what they wait for is done; failures and interruptions leave the rest consistent."""

import asyncio
from itertools import pairwise

import pytest

from planner.errors import HostError
from planner.reconcile import Step, StepKind
from thunderctl.apply import StepState, apply

TWO_MACHINES = [
    Step(StepKind.LEASE, "i0"),
    Step(StepKind.LEASE, "i1"),
    Step(StepKind.PREPARE, "i0"),
    Step(StepKind.PREPARE, "i1"),
    Step(StepKind.START, "r0"),
    Step(StepKind.START, "r1"),
    Step(StepKind.ROUTE, "routes"),
    Step(StepKind.DRAIN, "old"),
    Step(StepKind.STOP, "old"),
    Step(StepKind.RELEASE, "l9"),
]
SUBJECTS = {"r0": ("i0",), "r1": ("i1",)}


def names(steps):
    return [f"{step.what} {step.id}" for step in steps]


async def test_every_step_runs_after_those_it_waits_for():
    done = []

    async def do(step):
        await asyncio.sleep(0)
        done.append(step)

    await apply(TWO_MACHINES, do, subjects=SUBJECTS, report=lambda _: None)
    order = {f"{step.what} {step.id}": place for place, step in enumerate(done)}
    assert len(order) == len(TWO_MACHINES)
    chains = [
        ("lease i0", "prepare i0", "start r0", "route routes"),
        ("lease i1", "prepare i1", "start r1", "route routes"),
    ]
    chains += [("route routes", "drain old", "stop old", "release l9")]
    assert all(order[a] < order[b] for chain in chains for a, b in pairwise(chain))


async def test_a_slow_machine_does_not_hold_up_another_ones_engine():
    slow, started = asyncio.Event(), asyncio.Event()

    async def do(step):
        if step == Step(StepKind.LEASE, "i1"):
            await slow.wait()
        if step == Step(StepKind.START, "r0"):
            started.set()

    running = asyncio.create_task(apply(TWO_MACHINES, do, subjects=SUBJECTS, report=lambda _: None))
    await asyncio.wait_for(started.wait(), 5)
    slow.set()
    assert all(result.state is StepState.DONE for result in await running)


async def test_a_failure_skips_only_what_waits_for_it():
    async def do(step):
        if step == Step(StepKind.PREPARE, "i1"):
            raise HostError("no disk")

    results = await apply(TWO_MACHINES, do, subjects=SUBJECTS, report=lambda _: None)
    states = {f"{r.step.what} {r.step.id}": r.state for r in results}
    assert states["start r0"] is StepState.DONE
    assert states["prepare i1"] is StepState.FAILED
    assert [states[name] for name in ("start r1", "route routes", "release l9")] == [StepState.SKIPPED] * 3
    skipped = next(r for r in results if r.step.id == "r1")
    assert skipped.error is not None
    assert skipped.error.message == "no disk"


async def test_a_bug_is_raised_and_an_interruption_cancels_every_step():
    async def buggy(_):
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await apply(TWO_MACHINES[:1], buggy, subjects={}, report=lambda _: None)
    assert caught.value.subgroup(ZeroDivisionError)

    cancelled = []

    async def endless(step):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(step)

    running = asyncio.create_task(apply(TWO_MACHINES[:2], endless, subjects={}, report=lambda _: None))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(names(cancelled)) == ["lease i0", "lease i1"]
