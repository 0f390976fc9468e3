"""Turns are given out as an account may ask."""

import asyncio

from provisioners.pacer import LONGEST_PAUSE_S, Pacer
from tests.provisioners.fakes import FakeClock


def paced(interval_s: float, burst: int = 1) -> tuple[Pacer, list[float], FakeClock]:
    """A pacer whose waits are noted and not waited."""
    clock, waits = FakeClock(), []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return Pacer(interval_s, burst=burst, clock=clock, sleep=sleep), waits, clock


async def test_of_forty_tasks_at_once_each_gets_a_turn_of_its_own():
    pacer, waits, _ = paced(4.5)
    await asyncio.gather(*(pacer.turn() for _ in range(40)))
    assert waits == [4.5 * n for n in range(1, 40)]


async def test_a_burst_goes_at_once_and_the_rest_at_the_steady_rate():
    pacer, waits, clock = paced(6.0, burst=3)
    for _ in range(5):
        await pacer.turn()
    assert waits == [6.0, 12.0]
    clock.at += 100
    for _ in range(3):
        await pacer.turn()
    assert waits == [6.0, 12.0]


async def test_who_comes_late_does_not_wait():
    pacer, waits, clock = paced(4.5)
    await pacer.turn()
    clock.at += 4.5
    await pacer.turn()
    assert not waits


async def test_refusals_in_a_row_make_longer_pauses_up_to_a_bound_and_a_success_ends_them():
    pacer, waits, clock = paced(4.5, burst=2)
    for _ in range(8):
        pacer.refused()
        await pacer.turn()
        clock.at += waits[-1]
    assert waits[:3] == [9.0, 18.0, 36.0]
    assert waits[-1] == LONGEST_PAUSE_S
    pacer.accepted()
    pacer.refused()
    clock.at += LONGEST_PAUSE_S
    await pacer.turn()
    assert len(waits) == 8


async def test_a_provider_that_refuses_for_days_is_still_asked():
    pacer, waits, clock = paced(4.5)
    for _ in range(3000):
        pacer.refused()
        await pacer.turn()
        clock.at += waits[-1]
    assert waits[-1] == LONGEST_PAUSE_S
