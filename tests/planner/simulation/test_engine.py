"""One replica, pass by pass: what vLLM's scheduler would do, in worlds small enough to work out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.scenario import Lane, Requests, Server
from tests.planner.paces import linear_pace
from tests.planner.simulation.reference import stepped
from tests.planner.simulation.worlds import AT_ONCE, SERVER, STEADY, played, requests

LOCAL = Lane(0, 0, 1.0)
SPLIT = Lane(0, 1, 1.0)


def test_a_lone_request_gets_its_first_token_from_the_prompt():
    found = played(requests((1.0, 1024, 11)), [SERVER], LOCAL)
    assert found.first_s[0] == pytest.approx(1.0 + 1.124)
    assert found.last_s[0] == pytest.approx(found.first_s[0] + 10 * 0.101)


def test_prompts_wait_for_the_pass_under_way_and_then_share_one():
    found = played(requests((0.0, 100, 1), (0.1, 100, 1), (0.15, 100, 1)), [SERVER], LOCAL)
    assert found.first_s.tolist() == pytest.approx([0.2, 0.2 + 0.3, 0.2 + 0.3])


def test_a_pass_takes_tokens_up_to_its_budget_and_the_prompt_that_does_not_fit_goes_on_in_the_next():
    found = played(requests((0.0, 1500, 1), (0.1, 1500, 1), (0.2, 1500, 1)), [SERVER], LOCAL)
    assert found.first_s.tolist() == pytest.approx([1.6, 1.6 + 2.148, 1.6 + 2.148 + 0.1 + 0.952])


def test_a_long_prompt_takes_several_passes():
    found = played(requests((0.0, 5000, 1)), [SERVER], LOCAL)
    assert found.first_s[0] == pytest.approx(3 * 0.1 + 5.0)


def test_attention_over_the_pieces_of_a_prompt_is_attention_over_the_prompt():
    server = Server(linear_pace(pair_s=1e-6), 10_000)
    assert played(requests((0.0, 5000, 1)), [server], LOCAL).first_s[0] == pytest.approx(25.0)


def test_a_pipeline_takes_the_next_pass_when_its_first_stage_is_free():
    deep = Server(linear_pace(fixed_s=0.1, token_s=0.001, pp=2), 10_000)
    found = played(requests((0.0, 1500, 1), (0.0, 1500, 1)), [deep], LOCAL)
    assert found.first_s.tolist() == pytest.approx([1.6, 1.6 + 0.8])


def test_the_pieces_of_a_prompt_follow_each_other_through_a_pipeline():
    deep = Server(linear_pace(fixed_s=0.1, token_s=0.001, pp=2), 10_000)
    found = played(requests((0.0, 4096, 1)), [deep], LOCAL)
    assert found.first_s[0] == pytest.approx(2.148 * 1.5)


def test_a_sequence_takes_part_in_every_pass_of_its_own_through_a_pipeline():
    deep = Server(linear_pace(fixed_s=0.1, token_s=0.001, pp=2), 10_000)
    found = played(requests((0.0, 100, 11)), [deep], LOCAL)
    assert found.last_s[0] - found.first_s[0] == pytest.approx(10 * 0.1005, rel=1e-2)


def test_a_prompt_slows_the_tokens_of_others():
    quiet = played(requests((0.0, 100, 40)), [SERVER], LOCAL)
    disturbed = played(requests((0.0, 100, 40), (1.0, 4000, 1)), [SERVER], LOCAL)
    assert disturbed.last_s[0] - quiet.last_s[0] == pytest.approx(4.0)


def test_the_tokens_of_a_batch_leave_less_of_the_budget_to_prompts():
    small = Server(STEADY, 10_000, tokens_per_pass=10)
    found = played(requests((0.0, 5, 30), (1.0, 27, 1)), [small], LOCAL)
    start = 0.105 + 9 * 0.101  # the pass after 1.0 s, of which a token is the batch's: three pieces of nine
    assert found.first_s[1] == pytest.approx(start + 3 * 0.11)


def test_tokens_in_the_prefix_cache_are_not_computed():
    found = played(requests((0.0, 1000, 1), cached=[600]), [SERVER], LOCAL)
    assert found.first_s[0] == pytest.approx(0.1 + 0.4)


def test_the_last_token_of_a_prompt_is_always_computed():
    found = played(requests((0.0, 1000, 1), cached=[1000]), [SERVER], LOCAL)
    assert found.first_s[0] == pytest.approx(0.1 + 0.001)


def test_cached_tokens_take_up_kv():
    found = played(requests((0.0, 1000, 5), cached=[600]), [SERVER], LOCAL)
    assert found.peak_kv[0] == 1000 + 4


def test_no_more_sequences_run_than_the_engine_allows():
    few = Server(STEADY, 10_000, max_sequences=2)
    found = played(requests(*[(0.0, 10, 20)] * 3), [few], LOCAL)
    assert found.first_s[2] > found.last_s[0]


def test_who_finds_no_room_waits_in_order():
    tight = Server(STEADY, kv_tokens=150)
    found = played(requests((0.0, 100, 10), (0.0, 100, 10), (0.0, 20, 10)), [tight], LOCAL)
    assert found.first_s[1] > found.last_s[0]
    assert found.first_s[2] >= found.first_s[1]
    assert found.preemptions.sum() == 0


def test_output_is_not_reserved_and_the_newest_request_is_preempted_and_computed_again():
    tight = Server(STEADY, kv_tokens=250)
    found = played(requests((0.0, 100, 60), (0.0, 100, 60)), [tight], LOCAL)
    assert found.preemptions.tolist() == [0, 1]
    assert found.first_s[1] < found.last_s[0] < found.last_s[1]
    assert found.peak_kv[0] == 249
    # The first is alone for a pass, the second joins; after 24 passes together they have 26 and 25 tokens, and 126 +
    # 125 do not fit. Then 34 more of the first alone; then the second computes 125 again, which gives its 26th.
    together = 0.2 + 0.201 + 24 * 0.102
    assert found.last_s[0] == pytest.approx(together + 34 * 0.101)
    assert found.last_s[1] == pytest.approx(found.last_s[0] + 0.225 + 34 * 0.101)


def test_who_was_preempted_comes_before_who_waited():
    tight = Server(STEADY, kv_tokens=250)
    found = played(requests((0.0, 100, 60), (0.0, 100, 60), (0.5, 140, 5)), [tight], LOCAL)
    assert found.preemptions.tolist() == [0, 1, 0]
    assert found.first_s[2] > found.last_s[1]


def test_kv_is_copied_out_behind_the_next_pass():
    rows = (0.0, 100, 1), (0.1, 1000, 1)
    found = played(requests(*rows), [SERVER, AT_ONCE], SPLIT)
    assert found.first_s[0] == pytest.approx(0.2 + 1.1)
    assert found.first_s[1] == pytest.approx(0.2 + 1.1)


def test_kv_is_loaded_into_blocks_that_are_taken_before():
    tight = Server(STEADY, kv_tokens=150)
    found = played(requests((0.0, 100, 10), (0.0, 100, 10)), [AT_ONCE, tight], SPLIT)
    assert found.last_s[0] == pytest.approx(10 * 0.101)
    assert found.first_s[1] == pytest.approx(found.last_s[0] + 0.101)


def test_a_decoding_request_without_room_is_computed_where_it_is_decoded():
    tight = Server(STEADY, kv_tokens=250)
    found = played(requests((0.0, 100, 60), (0.0, 100, 60)), [AT_ONCE, tight], SPLIT)
    assert found.preemptions.tolist() == [0, 1]
    assert found.last_s[0] == pytest.approx(0.101 + 25 * 0.102 + 34 * 0.101)
    assert found.last_s[1] == pytest.approx(found.last_s[0] + 0.225 + 34 * 0.101)


sizes = st.tuples(st.floats(0, 5), st.integers(1, 200), st.integers(1, 50), st.integers(0, 150))


@given(
    st.lists(sizes, min_size=1, max_size=20),
    st.integers(250, 2000),
    st.integers(1, 12),
    st.integers(16, 600),
    st.floats(0.001, 0.05),
)
def test_it_does_what_stepping_through_every_pass_and_token_does(rows, kv_tokens, sequences, budget, fixed_s):
    rows.sort()
    server = Server(linear_pace(fixed_s=fixed_s, token_s=0.00031, pair_s=1e-8), kv_tokens, sequences, budget)
    what = requests(*(row[:3] for row in rows), cached=[row[3] for row in rows])
    fast, plain = played(what, [server], LOCAL), stepped(what, server)
    assert fast.preemptions.tolist() == [one.preemptions for one in plain]
    assert fast.first_s.tolist() == pytest.approx([one.first_s for one in plain])
    assert fast.last_s.tolist() == pytest.approx([one.last_s for one in plain])


def test_planning_many_passes_as_one_hardly_changes_their_time():
    random = np.random.default_rng(5)
    server = Server(linear_pace(fixed_s=0.01, token_s=1e-4, context_s=1e-6), 60_000)
    arrival, lengths = np.cumsum(random.exponential(0.1, 800)), random.integers(1, (3000, 400), (800, 2))
    what = Requests(arrival, *lengths.T.astype(float))
    fast, plain = played(what, [server], LOCAL), stepped(what, server)
    first, last = np.array([(one.first_s, one.last_s) for one in plain]).T
    assert fast.preemptions.sum() == sum(one.preemptions for one in plain)
    assert (fast.last_s - fast.first_s).mean() == pytest.approx((last - first).mean(), rel=0.005)
    assert (fast.first_s - what.arrival_s).mean() == pytest.approx((first - what.arrival_s).mean(), rel=0.02)
