"""Turns of prompts whose KV did not come, by a clock that the test holds."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.connector.recompute import PATIENCE_S, Recompute

RATE = 100.0


class World:
    """A clock, and what the agent was told."""

    def __init__(self):
        self.clock = SimpleNamespace(now=50.0)
        self.told = []
        self.recompute = Recompute(RATE, lambda name, fields: self.told.append((name, fields)), lambda: self.clock.now)

    def failed(self, *request_ids):
        for request_id in request_ids:
            self.recompute.add(request_id)

    def may_run(self, request_id, tokens=200):
        return self.recompute.may_run(request_id, tokens)

    def counted(self, what):
        return sum(fields.get("count", 1) for _, fields in self.told if fields.get("what") == what)

    @property
    def refused(self):
        return [fields["request"] for name, fields in self.told if name == "refuse"]


@pytest.fixture
def world():
    return World()


def test_a_request_that_brought_no_ticket_never_waits(world):
    world.failed("a")
    assert world.may_run("a")
    assert all(world.may_run(f"ordinary-{number}") for number in range(100))


def test_one_whole_prompt_of_any_length_passes_at_once(world):
    world.failed("a")
    assert world.may_run("a", tokens=100_000)


def test_the_next_one_runs_when_the_first_is_paid_for(world):
    world.failed("a", "b")
    assert world.may_run("a")
    world.clock.now += 1.9
    assert not world.may_run("b")
    world.clock.now += 0.2
    assert world.may_run("b")
    assert (world.counted("recomputed_tokens"), world.counted("recompute_waits")) == (400, 1)


def test_turns_are_given_in_the_order_of_asking_and_kept(world):
    world.failed("a", "b", "c")
    assert [world.may_run(name) for name in "abcb"] == [True, False, False, False]
    assert world.counted("recompute_waits") == 2
    world.clock.now += 2.0
    assert [world.may_run(name) for name in "cb"] == [False, True]
    world.clock.now += 2.0
    assert world.may_run("c")


def test_a_request_that_may_run_may_still_when_it_is_asked_again(world):
    """vLLM asks again when it has found no blocks for it."""
    world.failed("a")
    assert world.may_run("a")
    assert world.may_run("a")
    assert world.counted("recomputed_tokens") == 200


def test_who_would_wait_too_long_is_refused_once(world):
    world.failed("a", "b")
    assert world.may_run("a", tokens=int(PATIENCE_S * RATE) + 1)
    assert not world.may_run("b")
    assert not world.may_run("b")
    assert world.refused == ["b"]
    assert world.counted("recomputed_tokens") == PATIENCE_S * RATE + 1


def test_who_was_refused_and_is_still_there_gets_a_turn_later(world):
    world.failed("a", "b")
    assert world.may_run("a", tokens=int(10 * PATIENCE_S * RATE))
    assert not world.may_run("b")
    world.clock.now += 10 * PATIENCE_S
    assert world.may_run("b")


def test_what_is_forgotten_does_not_wait_any_more(world):
    world.failed("a", "b")
    world.may_run("a")
    assert world.recompute.waiting
    for name in "ab":
        world.recompute.forget(name)
    assert not world.recompute.waiting
    assert world.may_run("b")


def test_who_goes_away_before_its_turn_leaves_the_time_to_those_behind_it(world):
    world.failed(*"abcd")
    assert [world.may_run(name) for name in "abc"] == [True, False, False]
    world.recompute.forget("b")
    world.clock.now += 2.0
    assert [world.may_run(name) for name in "cd"] == [True, False]
    world.clock.now += 2.0
    assert world.may_run("d")


def test_prompts_that_the_router_takes_back_at_once_cost_no_patience(world):
    world.failed("a")
    assert world.may_run("a")
    for number in range(20):
        world.failed(str(number))
        assert not world.may_run(str(number), tokens=int(PATIENCE_S * RATE))
        world.recompute.forget(str(number))
    assert world.refused == []


def test_a_turn_that_had_come_is_paid_for_though_nobody_ran(world):
    world.failed("a", "b")
    assert world.may_run("a")
    world.recompute.forget("a")
    assert not world.may_run("b")


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 1000), st.booleans()), min_size=1, max_size=40))
def test_what_starts_in_any_time_is_within_the_rate_and_one_prompt(arrivals):
    """Everyone asks every tenth of a second until it has run or was refused, or goes away before another comes."""
    world, waiting, started = World(), {}, []
    for number, (after_s, tokens, leaves) in enumerate(arrivals):
        if leaves and waiting:
            gone = next(reversed(waiting))
            world.recompute.forget(gone)
            del waiting[gone]
        world.failed(str(number))
        waiting[str(number)] = tokens
        for _ in range(int(after_s * 10) + 1):
            for name in [name for name, size in waiting.items() if world.may_run(name, size)]:
                started.append((world.clock.now, waiting.pop(name)))
                world.recompute.forget(name)
            world.clock.now += 0.1
    for first, (begun, _) in enumerate(started):
        for last, (ended, longest) in enumerate(started[first:], first):
            between = sum(tokens for _, tokens in started[first:last])
            assert between <= (ended - begun) * RATE + 0.1 * RATE + max(t for _, t in started), longest
