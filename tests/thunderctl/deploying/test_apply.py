"""Steps run as soon as what they wait for is done; failures and interruptions leave the rest consistent."""

import asyncio
from itertools import pairwise

import pytest

from planner.errors import AuthError, HostError
from planner.reconcile import Step, StepKind
from thunderctl.deploying.apply import StepState, apply

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


async def test_an_engine_in_anothers_place_ends_after_all_else_started_and_only_its_own_drain_is_its_to_wait_for():
    place, other = {"lease_id": "l1"}, {"lease_id": "l2"}
    steps = [
        Step(StepKind.LEASE, "i0"),
        Step(StepKind.PREPARE, "i0"),
        Step(StepKind.START, "r0"),
        Step(StepKind.DRAIN, "r1", **place),
        Step(StepKind.STOP, "r1", **place),
        Step(StepKind.START, "r1"),
        Step(StepKind.ROUTE, "routes"),
        Step(StepKind.DRAIN, "r1", **other),
        Step(StepKind.STOP, "r1", **other),
    ]
    done = []

    async def do(step):
        await asyncio.sleep(0)
        done.append(step)

    await apply(steps, do, subjects=SUBJECTS, report=lambda _: None)
    assert done == steps


async def test_where_a_machine_is_not_to_be_had_nothing_that_serves_is_drained_or_stopped():
    steps = [
        Step(StepKind.LEASE, "i0"),
        Step(StepKind.PREPARE, "i0"),
        Step(StepKind.DRAIN, "r1", lease_id="l1"),
        Step(StepKind.STOP, "r1", lease_id="l1"),
        Step(StepKind.STOP, "r2", lease_id="l1"),
        Step(StepKind.START, "r1"),
    ]

    async def do(step):
        if step.what is StepKind.LEASE:
            raise HostError("none is left")

    results = await apply(steps, do, subjects=SUBJECTS, report=lambda _: None)
    assert [result.state for result in results] == [StepState.FAILED] + [StepState.SKIPPED] * 5


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


async def test_refused_credentials_end_the_steps_under_way_and_all_that_have_not_begun():
    begun = []

    async def do(step):
        begun.append(f"{step.what} {step.id}")
        if step == Step(StepKind.LEASE, "i1"):
            raise AuthError("the key is wrong")
        await asyncio.Event().wait()

    results = await apply(TWO_MACHINES, do, subjects=SUBJECTS, report=lambda _: None)
    assert begun == ["lease i0", "lease i1"]
    assert [result.state for result in results][:2] == [StepState.SKIPPED, StepState.FAILED]
    assert {result.state for result in results[2:]} == {StepState.SKIPPED}
    assert {result.error.message for result in results if result.error} == {"the key is wrong"}


async def test_an_interruption_is_one_even_where_credentials_were_refused():
    async def do(step):
        if step == Step(StepKind.LEASE, "i1"):
            raise AuthError("the key is wrong")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)

    running = asyncio.create_task(apply(TWO_MACHINES[:2], do, subjects={}, report=lambda _: None))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 3)
