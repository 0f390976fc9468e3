"""Engines that share a machine: as fast as alone while there is room, slower together beyond it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.simulation import host
from planner.simulation.scenario import Lane, Server
from tests.planner.simulation.worlds import STEADY, played, requests

HALF = replace(STEADY, host_share=0.6)
"""Takes 0.6 of its machine: two at once go at 1/1.2 of their pace, three at 1/1.8."""
ALL = replace(STEADY, host_share=1.0)
"""Takes all of its machine: n at once go at 1/n of their pace."""


@pytest.fixture
def at_once_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that wake up need not wait for a core, so that sums are plain."""
    monkeypatch.setattr(host, "SLICE_S", 0.0)


def servers(count: int, host: str = "m", pace=HALF) -> list[Server]:
    return [Server(pace, kv_tokens=10_000, host=host) for _ in range(count)]


def at_once(count: int):
    """A prompt of 100 tokens with one token of answer for each of so many servers, all at time 0."""
    return requests(*[(0.0, 100, 1)] * count), [Lane(i, i, 1 / count) for i in range(count)]


def test_one_engine_alone_is_as_fast_as_ever():
    what, lanes = at_once(1)
    assert played(what, servers(1), *lanes).first_s == pytest.approx([0.2])


@pytest.mark.parametrize(("count", "stretch"), [(2, 1.2), (3, 1.8)])
def test_engines_that_begin_while_others_are_busy_take_longer(count, stretch):
    what, lanes = at_once(count)
    first_s = played(what, servers(count), *lanes).first_s
    assert max(first_s) == pytest.approx(0.2 * stretch)


def test_on_machines_of_their_own_they_do_not_meet():
    what, lanes = at_once(3)
    apart = [replace(server, host=f"m{i}") for i, server in enumerate(servers(3))]
    assert played(what, apart, *lanes).first_s == pytest.approx([0.2] * 3)


def test_engines_that_have_their_gpus_to_themselves_do_not_meet_on_one_machine():
    what, lanes = at_once(3)
    assert played(what, servers(3, pace=STEADY), *lanes).first_s == pytest.approx([0.2] * 3)


def test_a_decoding_engine_slows_down_when_another_begins_and_recovers_when_it_ends():
    """Steps of 0.101 s; the other engine's prompt of 2000 tokens comes at 1 s and takes 2.1 s x 1.2."""
    what = requests((0.0, 100, 60), (1.0, 2000, 1))
    ends = [Lane(0, 0, 0.5), Lane(1, 1, 0.5)]
    together = played(what, servers(2), *ends)
    alone = played(what, [replace(server, host=f"m{i}") for i, server in enumerate(servers(2))], *ends)
    slowed = together.last_s[together.decode == together.decode[0]][0]
    undisturbed = alone.last_s[0]
    # While the prompt is computed each step takes 1.2 times as long: a sixth of that time is lost.
    lost_s = (together.first_s[1] - 1.0) * (1 - 1 / 1.2)
    assert slowed - undisturbed == pytest.approx(lost_s, abs=0.05)


def test_no_engine_is_faster_beside_others_and_all_requests_end():
    random = np.random.default_rng(3)
    rows = [
        (float(t), int(p), int(o))
        for t, p, o in zip(
            np.cumsum(random.exponential(0.3, 60)), random.integers(1, 800, 60), random.integers(1, 40, 60), strict=True
        )
    ]
    lanes = [Lane(i, i, 1 / 3) for i in range(3)]
    together = played(requests(*rows), servers(3), *lanes)
    alone = played(requests(*rows), [replace(s, host=f"m{i}") for i, s in enumerate(servers(3))], *lanes)
    assert np.isfinite(together.last_s).all()
    assert together.end_s >= alone.end_s
    assert together.last_s.mean() > alone.last_s.mean()


def test_a_prompt_under_way_slows_down_when_another_comes_and_speeds_up_when_it_is_through():
    """2.1 s of work from 0 on, and 0.2 s from 1 s on: together until 1.4 s, and all is done after 2.3 s."""
    first_s = played(
        requests((0.0, 2000, 1), (1.0, 100, 1)), servers(2, pace=ALL), Lane(0, 0, 0.5), Lane(1, 1, 0.5)
    ).first_s
    assert first_s == pytest.approx([2.3, 1.4])


@pytest.mark.usefixtures("at_once_awake")
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500)), min_size=1, max_size=8))
def test_a_full_machine_does_all_the_work_and_no_more_however_it_is_shared(prompts):
    """Its last work ends when that of one server with a queue would."""
    prompts = sorted((at_ms / 1e3, tokens) for at_ms, tokens in prompts)
    what = requests(*[(at_s, tokens, 1) for at_s, tokens in prompts])
    count = len(prompts)
    shared = played(what, servers(count, pace=ALL), *[Lane(i, i, 1 / count) for i in range(count)])
    through_s = 0.0
    for at_s, tokens in prompts:
        through_s = max(at_s, through_s) + 0.1 + 0.001 * tokens
    assert shared.end_s == pytest.approx(through_s)


def test_what_comes_to_a_full_machine_waits_for_a_core_at_each_waking_and_else_not_at_all():
    """Two engines that ask for 1.2 of it: a slice is shared by 1.2 of them, and a request wakes 12 processes."""
    what = requests((0.0, 3000, 1), (0.0, 3000, 1), (1.0, 100, 1))
    ends = [Lane(i, i, 1 / 3) for i in range(3)]
    late = played(what, servers(3), *ends).first_s[2] - 1.0
    assert late == pytest.approx(12 * host.SLICE_S * 1.2 + 0.2 * 1.8)
    alone = played(requests((0.0, 3000, 1), (1.0, 100, 1)), servers(2), *[Lane(i, i, 0.5) for i in range(2)])
    assert alone.first_s[1] - 1.0 == pytest.approx(0.2 * 1.2)


def test_tokens_that_are_sent_take_part_of_the_machine():
    """A sequence takes 0.6 of it, and 0.0202 s in each step of 0.101 s to send: two at once ask for 1.6 of it."""
    sending = replace(HALF, stream_s=0.0202)
    what = requests((0.0, 100, 101), (0.0, 100, 101))
    ends = [Lane(0, 0, 0.5), Lane(1, 1, 0.5)]
    slow = played(what, servers(2, pace=sending), *ends)
    alone = played(what, [replace(server, host=f"m{i}") for i, server in enumerate(servers(2, pace=sending))], *ends)
    stretch = (slow.last_s - slow.first_s) / (alone.last_s - alone.first_s)
    assert stretch == pytest.approx([1.6, 1.6], rel=0.02)


def test_packing_and_the_next_pass_of_its_engine_take_turns():
    """A prompt is copied out behind the next pass, and packed in 0.1 s; beside a third one's pass, in 0.2 s."""
    packed = Lane(0, 1, 1.0, packing_s_per_token=0.001)
    quick = replace(STEADY, host_share=0.01)
    what = requests((0.0, 100, 1), (0.01, 100, 1), (0.21, 100, 1))
    one = played(what, servers(2, pace=quick), packed)
    free = played(what, servers(2, pace=STEADY), packed)
    assert one.first_s[0] == pytest.approx(free.first_s[0] + 0.1)


def test_a_hand_over_on_a_shared_machine_takes_part_of_it_and_longer_while_others_are_busy():
    """A prompt of 100 tokens is handed on after 0.2 s, within 0.5 s alone; a third engine computes meanwhile or not."""
    moved = Lane(0, 1, 0.5, latency_s=0.5)
    alone = played(requests((0.0, 100, 2)), servers(3), replace(moved, share=1.0))
    assert alone.first_s == pytest.approx([0.2 + 0.5 + 0.101])

    beside = played(requests((0.0, 100, 2), (0.1, 3000, 1)), servers(3), moved, Lane(2, 2, 0.5))
    handed_on, computed = (beside.prefill == 0).argmax(), (beside.prefill == 2).argmax()
    assert beside.first_s[handed_on] > alone.first_s[0] + 0.5 * 0.19
    assert beside.first_s[computed] > 0.1 + 3.1


def test_a_hand_over_between_machines_of_their_own_takes_its_latency():
    moved = Lane(0, 1, 1.0, latency_s=0.5)
    assert played(requests((0.0, 100, 2)), servers(2, pace=STEADY), moved).first_s == pytest.approx([0.801])
