import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.perfmodel import Pace
from planner.simulate import Lane, Requests, Server, simulate

STEADY = Pace(fixed_s=0.1, weights_s=0.0, token_s=0.001, pair_s=0.0, context_s=0.0, exchange_s=0.0)
"""A pass takes 0.1 s and a millisecond a token: a prompt of 100 takes 0.2 s, a step of one sequence 0.101 s."""
SERVER = Server(STEADY, kv_tokens=10_000)


def requests(*rows: tuple[float, int, int]) -> Requests:
    arrival, prompt, output = np.array(rows, dtype=float).T
    return Requests(arrival, prompt, output)


def test_a_lone_request_is_prefilled_moved_and_decoded():
    found = simulate(requests((1.0, 100, 11)), [SERVER, SERVER], [Lane(0, 1, 1.0, 0.05, 0.001)], seed=0)
    assert found.first_s[0] == pytest.approx(1.0 + 0.2 + 0.15 + 0.101)
    assert found.last_s[0] == pytest.approx(found.first_s[0] + 10 * 0.101)


def test_a_lone_request_of_a_mixed_replica_gets_its_first_token_from_the_prompt():
    found = simulate(requests((1.0, 1024, 11)), [SERVER], [Lane(0, 0, 1.0)], seed=0)
    assert found.first_s[0] == pytest.approx(1.0 + STEADY.prefill_s(1024.0))
    assert found.last_s[0] == pytest.approx(found.first_s[0] + 10 * 0.101)


def test_prompts_wait_for_the_pass_under_way_and_then_share_one():
    found = simulate(requests((0.0, 100, 1), (0.1, 100, 1), (0.15, 100, 1)), [SERVER] * 2, [Lane(0, 1, 1.0)], seed=0)
    assert found.first_s[0] == pytest.approx(0.2 + 0.101)
    assert found.first_s[1:] == pytest.approx([0.2 + 0.3 + 0.102] * 2, rel=0.01)


def test_a_pass_is_not_shared_beyond_its_tokens():
    found = simulate(requests((0.0, 1500, 1), (0.0, 1500, 1)), [SERVER] * 2, [Lane(0, 1, 1.0)], seed=0)
    assert found.last_s[1] - found.last_s[0] == pytest.approx(1.6)


def test_a_pipeline_takes_the_next_pass_when_its_first_stage_is_free():
    deep = Server(Pace(0.1, 0.0, 0.001, 0.0, 0.0, 0.0, pp=2), 10_000)
    found = simulate(requests((0.0, 1500, 1), (0.0, 1500, 1)), [deep, SERVER], [Lane(0, 1, 1.0)], seed=0)
    assert found.last_s[1] - found.last_s[0] == pytest.approx((0.2 + 1.5) / 2)


def test_who_finds_no_room_waits_in_order():
    tight = Server(STEADY, kv_tokens=150)
    found = simulate(
        requests((0.0, 100, 10), (0.0, 100, 10), (0.0, 20, 10)), [SERVER, tight], [Lane(0, 1, 1.0)], seed=0
    )
    assert found.first_s[1] > found.last_s[0]
    assert found.first_s[2] >= found.first_s[1]


def test_a_prompt_slows_the_tokens_of_others_on_a_mixed_replica():
    quiet = simulate(requests((0.0, 100, 40)), [SERVER], [Lane(0, 0, 1.0)], seed=0)
    disturbed = simulate(requests((0.0, 100, 40), (1.0, 4000, 1)), [SERVER], [Lane(0, 0, 1.0)], seed=0)
    assert disturbed.last_s[0] > quiet.last_s[0] + 3.0


def test_traffic_follows_the_shares():
    many = requests(*((0.01 * i, 10, 1) for i in range(2000)))
    found = simulate(many, [SERVER] * 3, [Lane(1, 1, 0.75), Lane(2, 2, 0.25)], seed=5)
    assert found.busy_share[0] == 0.0
    assert found.busy_share[1] > found.busy_share[2] > 0.0


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    many = requests(*((0.05 * i, 50, 5) for i in range(200)))
    lanes = [Lane(0, 0, 0.5), Lane(1, 1, 0.5)]
    first, again, other = (simulate(many, [SERVER] * 2, lanes, seed=seed) for seed in (1, 1, 2))
    assert (first.last_s == again.last_s).all()
    assert (first.last_s != other.last_s).any()


rows = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3000), st.integers(1, 60)), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 3), st.booleans())
def test_every_request_ends_and_no_token_comes_before_it_can(rows, pp, split):
    pace = Pace(0.01, 0.02, 0.0001, 1e-9, 1e-7, 1e-6, pp=pp)
    server = Server(pace, kv_tokens=4000)
    lanes = [Lane(0, 1, 1.0, 0.01)] if split else [Lane(0, 0, 1.0)]
    played = requests(*sorted(rows))
    found = simulate(played, [server, server], lanes, seed=0)
    assert np.isfinite(found.last_s).all()
    assert (found.first_s >= played.arrival_s + pace.prefill_interval_s(played.prompt) - 1e-9).all()
    assert (found.last_s >= found.first_s - 1e-9).all()
    assert all(0 <= busy <= 1 + 1e-9 for busy in found.busy_share)
