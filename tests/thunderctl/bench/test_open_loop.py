"""A load comes at its times, whatever became of what came before; and what waits, waits from when it was due."""

import asyncio
import json

import numpy as np
import pytest

from planner.simulation.scenario import Requests
from planner.workload import Slo
from tests.virtual_time import VirtualLoop
from thunderctl.bench.load import VOCABULARY, Answer, Door, NoAnswer, Secret
from thunderctl.bench.open_loop import play
from thunderctl.bench.prompts import requests_ready
from thunderctl.bench.tally import Tally

SLO = Slo(ttft_s=1.0, tpot_s=0.1, attainment=0.9)


def load(*arrival_s, output=11):
    count = len(arrival_s)
    return Requests(np.array(arrival_s, float), np.full(count, 100.0), np.full(count, float(output)))


def played(tally, ask, *, until_s=None):
    """The tally after the load was played in virtual time, or as much of it as `until_s` left time for."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        clock = runner.get_loop().time

        async def go():
            async with asyncio.timeout(until_s):
                await play(tally, lambda number: b"%d" % number, lambda *asked: ask(clock, *asked), clock=clock)

        if until_s is None:
            runner.run(go())
        else:
            with pytest.raises(TimeoutError):
                runner.run(go())
    return tally


async def slow_first(clock, number, _, due_at):
    """The first request takes 10 s to its first token, the others 0.5 s; each token after it 0.05 s."""
    await asyncio.sleep(10.0 if number == 0 else 0.5)
    first = clock() - due_at
    await asyncio.sleep(0.5)
    return Answer(first, first + 0.5, 11)


def test_a_request_that_is_slow_holds_up_no_other():
    tally = played(Tally.of(load(0, 1, 2), SLO), slow_first)
    assert tally.sent_s.tolist() == [0.0, 1.0, 2.0]
    assert tally.first_s.tolist() == [10.0, 1.5, 2.5]
    assert tally.measures.slo_attainment == pytest.approx(2 / 3)


def test_what_the_client_is_behind_counts_as_the_endpoints():
    """Coordinated omission: while the one client stands still nothing is sent, and that is no reason to look better."""
    tally = Tally.of(load(0, 1, 2, 3), SLO)

    async def ask(clock, number, _, due_at):
        if number == 0:
            asyncio.get_running_loop().now += 5.0  # the whole process stands still
        await asyncio.sleep(0.5)
        return Answer(clock() - due_at, clock() - due_at, 1)

    played(tally, ask)
    assert tally.sent_s.tolist() == [0.0, 5.0, 5.0, 5.0]
    assert (tally.first_s - tally.requests.arrival_s).tolist() == [5.5, 4.5, 3.5, 2.5]
    assert tally.late_s == 4.0


def test_failures_are_counted_by_cause_and_meet_nothing():
    async def ask(_, number, *__):
        if number:
            raise NoAnswer("no", "503 overloaded" if number < 3 else "broke off")
        return Answer(0.2, 0.7, 11)

    tally = played(Tally.of(load(0, 1, 2, 3), SLO), ask)
    assert tally.causes == {"503 overloaded": 2, "broke off": 1}
    found = tally.measures
    assert (found.requests, found.completed, found.slo_attainment) == (4, 1, 0.25)
    assert found.goodput_rps == pytest.approx(1 / 4)  # of the four seconds that four arrivals a second apart take
    assert found.tpot_p50_s == pytest.approx(0.05)


def test_broken_off_it_keeps_what_came_and_counts_nothing_that_did_not():
    tally = played(Tally.of(load(0, 1, 2, 30), SLO), slow_first, until_s=5.0)
    assert (tally.asked, tally.begun, tally.under_way) == (4, 3, 1)
    assert tally.begun_requests.arrival_s.tolist() == [0.0, 1.0, 2.0]
    assert (tally.measures.requests, tally.measures.slo_attainment) == (2, 1.0)
    assert tally.rate_rps == 1.0


def test_a_tally_of_nothing_yet_can_be_shown():
    tally = Tally.of(load(0, 1), SLO)
    assert (tally.begun, tally.under_way, tally.late_s, tally.rate_rps) == (0, 0, 0.0, 0.0)
    assert (tally.measures.requests, tally.measures.ttft_p50_s) == (0, 0.0)


def prompt_of(request):
    return json.loads(request.partition(b"\r\n\r\n")[2])["prompt"]


def test_prompts_have_their_lengths_share_what_is_cached_and_nothing_else():
    requests = Requests(np.zeros(2), np.array([50.0, 80.0]), np.array([3.0, 4.0]), np.array([20.0, 30.0]))
    ready = requests_ready(Door("http://h/v1", Secret("sk-1")), "m", requests)
    first, second = (prompt_of(ready(number)) for number in (0, 1))
    assert (len(first), len(second)) == (50, 80)
    assert first[:20] == second[:20]
    assert first[20:50] != second[20:50]
    assert set(first) <= set(VOCABULARY)
    assert b"Authorization: Bearer sk-1\r\n" in ready(0)
    again = requests_ready(Door("http://h/v1"), "m", requests)
    assert prompt_of(again(0)) != first, "another run asks for what no engine remembers"
