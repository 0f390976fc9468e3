"""What should rest of a large fleet is worked out beside the ticks, and counts for what is still there."""

import asyncio
from dataclasses import replace

import pytest

from tests.thunderctl.controller.sizing.test_sizer import SCALING, fleet
from tests.thunderctl.controller.sizing.views import NOW, part, steady, view
from thunderctl.controller.sizing import sizer
from thunderctl.controller.sizing.beside import Beside
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.sizer import Sizer
from thunderctl.controller.sizing.view import Rules

RULES = Rules()
DEAR = view(*(part(f"i{number}") for number in range(4)), budget=steady(2.0), over_since=NOW - 1000)


class Thread:
    """Works when it is told to; `asked` are the views that it was given."""

    def __init__(self):
        self.asked, self.go, self.fails = [], asyncio.Event(), False

    async def __call__(self, work, given, rules):
        self.asked.append(given)
        await self.go.wait()
        if self.fails:
            raise RuntimeError("a bug")
        return work(given, rules)


async def ended():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_waits_for_it_and_then_it_is_known():
    thread = Thread()
    beside = Beside(thread)
    assert [beside.wanted(DEAR, RULES) for _ in range(3)] == [None] * 3
    thread.go.set()
    await ended()
    assert beside.wanted(DEAR, RULES) == sized(DEAR, RULES)
    assert len(sized(DEAR, RULES).instances) == 2
    assert len(thread.asked) == 1, "one look at a time, and the last one is a moment old"


async def test_what_was_found_counts_for_the_machines_that_are_left_and_not_by_other_rules():
    thread = Thread()
    thread.go.set()
    beside = Beside(thread)
    beside.wanted(DEAR, RULES)
    await ended()
    gone = sorted(sized(DEAR, RULES).instances)[0]
    fewer = replace(DEAR, parts=tuple(one for one in DEAR.parts if one.id != gone))
    found = beside.wanted(fewer, RULES)
    assert found is not None
    assert found.instances.keys() == sized(DEAR, RULES).instances.keys() - {gone}
    assert beside.wanted(fewer, replace(RULES, lead_s=1.0)) is None


async def test_machines_that_come_and_go_at_every_tick_put_nothing_off():
    thread = Thread()
    thread.go.set()
    beside = Beside(thread)
    calm = replace(DEAR, parts=tuple(replace(one, leased=True) for one in DEAR.parts))
    beside.wanted(calm, RULES)
    await ended()
    for tick in range(1, 4):
        restless = replace(
            calm, at=NOW + 2 * tick, parts=(*calm.parts[:-1], replace(calm.parts[-1], ready=tick % 2 == 0))
        )
        found = beside.wanted(restless, RULES)
        assert found is not None
        assert found.instances
        await ended()


async def test_it_looks_again_as_time_goes_by():
    thread = Thread()
    thread.go.set()
    beside = Beside(thread)
    early = replace(DEAR, over_since=NOW - 100)
    beside.wanted(early, RULES)
    await ended()
    assert beside.wanted(early, RULES) == early.resting, "not above the budget for long enough"
    later = replace(early, at=NOW + 300)
    beside.wanted(later, RULES)
    await ended()
    assert beside.wanted(later, RULES) == sized(later, RULES) != early.resting


async def test_a_look_that_failed_is_told_and_looked_again():
    thread = Thread()
    thread.go.set()
    thread.fails = True
    beside = Beside(thread)
    beside.wanted(DEAR, RULES)
    await ended()
    with pytest.raises(RuntimeError, match="a bug"):
        beside.wanted(DEAR, RULES)
    thread.fails = False
    later = replace(DEAR, at=NOW + 2)
    beside.wanted(later, RULES)
    await ended()
    assert beside.wanted(later, RULES) is not None


async def test_a_large_fleet_is_sized_beside_and_a_small_one_at_once(monkeypatch):
    thread = Thread()
    found = Sizer(beside=Beside(thread))
    await found.learn(fleet(), SCALING, {})
    assert found.wanted(fleet(), SCALING) is not None
    assert thread.asked == []
    monkeypatch.setattr(sizer, "LARGE", 3)
    assert found.wanted(fleet(), SCALING) is None
    thread.go.set()
    await ended()
    assert found.wanted(fleet(), SCALING) is not None
