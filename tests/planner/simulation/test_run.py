"""Whole runs: lanes, epochs, failures, and what holds for any of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from planner.simulation.run import simulate
from planner.simulation.scenario import Epoch, Failure, Lane, Requests, Server, Wire
from tests.planner.paces import linear_pace
from tests.planner.simulation.worlds import AT_ONCE, SERVER, STEADY, played, poisson, requests, scenarios

EVEN = requests(*((0.05 * i, 50, 5) for i in range(200)))


def test_a_lone_request_is_prefilled_moved_and_decoded():
    lane = Lane(0, 1, 1.0, 0.05, 0.0005, 1000.0, (Wire("w", 1e6),))
    found = played(requests((1.0, 100, 11)), [SERVER, SERVER], lane)
    assert found.first_s[0] == pytest.approx(1.0 + 0.2 + 0.05 + 0.05 + 0.1 + 0.05 + 0.101)
    assert found.last_s[0] == pytest.approx(found.first_s[0] + 10 * 0.101)
    assert (found.prefill[0], found.decode[0]) == (0, 1)


def test_traffic_follows_the_shares():
    found = played(EVEN, [SERVER] * 3, Lane(1, 1, 0.75), Lane(2, 2, 0.25))
    assert np.bincount(found.decode, minlength=3).tolist() == pytest.approx([0, 150, 50], abs=1)
    assert found.busy_share[0] == 0.0
    assert found.busy_share[1] > found.busy_share[2] > 0.0


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    epochs = [Epoch(0.0, (Lane(0, 0, 0.3), Lane(1, 1, 0.3), Lane(2, 2, 0.4)))]
    first, again, other = (simulate(EVEN, [SERVER] * 3, epochs, seed=seed) for seed in (1, 1, 2))
    assert (first.last_s == again.last_s).all()
    assert (first.decode != other.decode).any()


def test_nothing_to_play_is_played():
    found = played(
        replace(EVEN, arrival_s=np.zeros(0), prompt=np.zeros(0), output=np.zeros(0)), [SERVER], Lane(0, 0, 1)
    )
    assert (len(found.first_s), found.events, found.busy_share) == (0, 0, (0.0,))


def test_a_request_longer_than_the_kv_is_lost_and_nobody_waits_for_it():
    found = played(requests((0.0, 10_000, 2), (0.0, 100, 1)), [SERVER], Lane(0, 0, 1.0))
    assert found.last_s.tolist() == [np.inf, pytest.approx(0.2)]


def test_a_flip_is_an_epoch_and_what_runs_ends_under_the_one_it_began_in():
    epochs = [Epoch(0.0, (Lane(0, 1, 1.0),)), Epoch(1.0, (Lane(1, 0, 1.0),))]
    what = requests((0.0, 100, 50), (0.9, 100, 50), (1.1, 100, 50))
    found = simulate(what, [SERVER] * 2, epochs, seed=0)
    assert found.epoch.tolist() == [0, 0, 1]
    assert found.prefill.tolist() == [0, 0, 1]
    assert found.decode.tolist() == [1, 1, 0]
    assert np.isfinite(found.last_s).all()


def test_a_prompt_on_a_flipped_replica_is_computed_beside_what_still_decodes_there():
    epochs = [Epoch(0.0, (Lane(0, 1, 1.0),)), Epoch(1.0, (Lane(1, 0, 1.0),))]
    alone = simulate(requests((0.0, 100, 50)), [SERVER] * 2, epochs, seed=0)
    beside = simulate(requests((0.0, 100, 50), (1.1, 1000, 1)), [SERVER] * 2, epochs, seed=0)
    assert beside.last_s[0] == pytest.approx(alone.last_s[0] + 1.0)


def test_a_request_that_is_preempted_by_kv_being_copied_out_comes_back_in_the_same_pass_and_ends_once():
    tight = Server(STEADY, kv_tokens=300)
    epochs = [Epoch(0.0, (Lane(0, 0, 1.0),)), Epoch(1.0, (Lane(0, 1, 1.0),))]
    found = simulate(requests((0.0, 100, 60), (1.05, 190, 1)), [tight, SERVER], epochs, seed=0)
    assert found.preemptions.tolist() == [1, 0]
    with_the_prompt = 0.2 + 9 * 0.101 + 0.291
    assert found.last_s[0] == pytest.approx(with_the_prompt + 0.211 + 48 * 0.101)


def test_what_a_failed_server_did_starts_again_elsewhere():
    lanes = Lane(0, 0, 0.5), Lane(1, 1, 0.5)
    found = played(requests((0.0, 100, 50), (0.0, 100, 50)), [SERVER] * 2, *lanes, failures=[Failure(1, 2.0)])
    assert found.decode.tolist() == [0, 0]
    assert sorted(found.first_s)[0] == pytest.approx(0.2)
    assert 2.0 < sorted(found.first_s)[1] < 2.0 + 0.101 + 0.201 + 1e-9


def test_a_failed_server_is_busy_no_more():
    found = played(EVEN, [SERVER] * 2, Lane(0, 0, 0.5), Lane(1, 1, 0.5), failures=[Failure(1, 3.0)])
    late = int(3.0 / found.bucket_s) + 1
    assert found.busy_s[1, :late].sum() > 1.0
    assert found.busy_s[1, late:].sum() == 0.0


def test_kv_that_a_failed_prefill_server_still_held_is_computed_again():
    slow = Lane(0, 1, 0.5, wire_bytes_per_token=1.0, wires=(Wire("w", 100.0),))
    other = replace(slow, prefill=2)
    found = played(requests((0.0, 100, 5)), [SERVER] * 3, slow, other, failures=[Failure(0, 0.7), Failure(2, 9.0)])
    one = played(requests((0.0, 100, 5)), [SERVER] * 3, slow, other, failures=[Failure(2, 0.7)])
    assert sorted([found.first_s[0], one.first_s[0]]) == pytest.approx([1.301, 2.001])


def test_a_prompt_whose_decode_server_failed_meanwhile_starts_again():
    lanes = Lane(0, 1, 0.5), Lane(0, 2, 0.5)
    found = played(requests((0.0, 100, 5)), [SERVER] * 3, *lanes, failures=[Failure(1, 0.1)])
    other = played(requests((0.0, 100, 5)), [SERVER] * 3, *lanes, failures=[Failure(2, 0.1)])
    assert sorted([found.first_s[0], other.first_s[0]]) == pytest.approx([0.301, 0.501])


def test_a_failed_prefill_server_does_not_disturb_what_is_decoding():
    lane = Lane(0, 1, 1.0)
    found = played(requests((0.0, 100, 50)), [SERVER] * 2, lane, failures=[Failure(0, 1.0)])
    assert found.last_s.tolist() == played(requests((0.0, 100, 50)), [SERVER] * 2, lane).last_s.tolist()


def test_without_prefill_servers_decode_servers_prefill_themselves_as_the_router_has_them():
    found = played(requests((1.0, 100, 5)), [SERVER] * 2, Lane(0, 1, 1.0), failures=[Failure(0, 0.5)])
    assert (found.prefill[0], found.decode[0]) == (1, 1)
    assert found.first_s[0] == pytest.approx(1.2)


def test_with_no_server_left_requests_are_lost():
    found = played(requests((0.0, 100, 50), (1.0, 100, 5)), [SERVER], Lane(0, 0, 1.0), failures=[Failure(0, 0.5)])
    assert np.isinf(found.first_s).all()
    assert np.isinf(found.last_s).all()
    assert found.decode.tolist() == [-1, -1]


def test_an_epoch_without_lanes_is_refused():
    with pytest.raises(ValueError, match="has 0 lanes; expected one with a share"):
        Epoch(1.0, ())


def test_a_later_epoch_takes_over_when_all_servers_of_an_earlier_one_failed():
    epochs = [Epoch(0.0, (Lane(0, 0, 1.0),)), Epoch(2.0, (Lane(1, 1, 1.0),))]
    found = simulate(
        requests((0.0, 50, 5), (1.5, 50, 5), (3.0, 50, 5)), [SERVER] * 2, epochs, [Failure(0, 1.0)], seed=0
    )
    assert np.isfinite(found.last_s).tolist() == [True, False, True]


def test_busy_time_in_buckets_is_all_of_it():
    found = played(requests((0.0, 1000, 1), (10.0, 100, 11)), [SERVER], Lane(0, 0, 1.0))
    assert found.busy_s.sum() == pytest.approx(1.1 + 0.2 + 10 * 0.101)
    assert found.bucket_s == 0.1
    assert found.busy_s[0, :12] == pytest.approx([0.1] * 11 + [0.0])
    assert found.end_s == pytest.approx(10.2 + 10 * 0.101)


def test_kv_held_in_buckets_is_the_tokens_of_prompts_and_of_what_came():
    """A pass holds the prompt, and all tokens that came before it."""
    found = played(requests((0.0, 100, 1), (10.0, 100, 11)), [SERVER], Lane(0, 0, 1.0))
    held = found.kv_held * found.bucket_s
    assert held[0, :2].tolist() == pytest.approx([10.0, 10.0])
    assert held.sum() == pytest.approx(100 * 0.2 + 100 * 0.2 + 0.101 * sum(range(101, 111)))
    assert not held[0, 3:99].any()


def test_kv_that_is_loaded_is_held_from_when_its_blocks_are_taken():
    lane = Lane(0, 1, 1.0, wire_bytes_per_token=1.0, wires=(Wire("w", 100.0),))
    found = played(requests((0.0, 100, 1)), [SERVER, SERVER], lane)
    assert found.first_s[0] == pytest.approx(0.2 + 1.0 + 0.101)
    assert (found.kv_held[1] * found.bucket_s).sum() == pytest.approx(100 * (1.0 + 0.101))


def test_what_comes_while_others_decode_holds_kv_from_then_on():
    """A load is admitted at the end of a pass in a long run of them, 0.5 s before its pass."""
    epochs = [Epoch(0.0, (Lane(1, 1, 1.0),)), Epoch(1.0, (Lane(0, 1, 1.0, 0.0, 0.0, 1.0, (Wire("w", 200.0),)),))]
    both = simulate(requests((0.0, 100, 60), (2.0, 100, 2)), [AT_ONCE, SERVER], epochs, seed=0)
    decoding = played(requests((0.0, 100, 60)), [SERVER], Lane(0, 0, 1.0))
    taken = 0.2 + 18 * 0.101  # the end of the pass under way at 2.0 s
    others = decoding.kv_held.sum() * decoding.bucket_s
    slower = (both.last_s[0] - decoding.last_s[0]) * 130
    own = 100 * (both.first_s[1] - taken) + 101 * 0.102
    assert both.kv_held[1].sum() * both.bucket_s == pytest.approx(others + slower + own, rel=0.005)


def test_a_run_much_longer_than_its_arrivals_has_wider_buckets_not_many_more():
    found = played(requests((0.0, 10, 1), (0.001, 5000, 4000)), [SERVER] * 2, Lane(0, 0, 1.0), Lane(1, 1, 1.0))
    assert found.busy_s.shape[1] <= 1000
    assert found.busy_s.sum() == pytest.approx(0.11 + 5.3 + 3999 * 0.101)


def test_progress_is_told_in_order_up_to_the_end():
    told: list[float] = []
    simulate(EVEN, [SERVER], [Epoch(0.0, (Lane(0, 0, 1.0),))], seed=0, progress=told.append)
    assert told == sorted(told)
    assert (len(told), told[-1]) == (200, 1.0)


@given(scenarios())
def test_every_request_ends_once_or_is_lost_and_nothing_goes_above_capacity(scenario):
    what, servers, epochs, failures = scenario
    found = simulate(what, servers, epochs, failures, seed=3)
    done = np.isfinite(found.last_s)
    assert (np.isfinite(found.first_s) == done).all()
    assert (found.first_s[done] > what.arrival_s[done]).all()
    assert (found.last_s[done] >= found.first_s[done] - 1e-9).all()
    assert (found.peak_kv <= [server.kv_tokens + 1e-3 for server in servers]).all()
    assert (found.busy_s <= found.bucket_s * (1 + 1e-9)).all()
    assert (found.busy_s >= 0).all()
    held = what.prompt + what.output - 1
    fleet = np.array([server.kv_tokens for server in servers])
    unheld = (held > fleet[found.decode]) | (what.prompt > fleet[found.prefill])
    assert failures or (done | unheld).all()
    assert not (done & (unheld | (found.decode < 0))).any()


@given(scenarios())
def test_whatever_fails_requests_end_elsewhere_while_one_server_that_serves_itself_is_left(scenario):
    what, servers, epochs, failures = scenario
    roomy = [replace(server, kv_tokens=4000) for server in servers]
    last = len(roomy)  # one more server, local in every epoch
    epochs = [replace(epoch, lanes=(*epoch.lanes, Lane(last, last, 0.2))) for epoch in epochs]
    found = simulate(what, [*roomy, Server(STEADY, 4000)], epochs, failures, seed=3)
    assert np.isfinite(found.last_s).all()
    for failure in failures:
        assert (found.last_s[found.decode == failure.server] <= failure.at_s).all()
        assert (found.first_s[found.decode == failure.server] <= failure.at_s).all()
        late = int(failure.at_s / found.bucket_s) + 1
        assert (found.busy_s[failure.server, late:] == 0).all()


@settings(max_examples=60)
@given(scenarios())
def test_twice_the_speed_and_twice_the_rate_halve_all_times(scenario):
    what, servers, epochs, failures = scenario
    slow = simulate(what, servers, epochs, failures, seed=3)
    fast = simulate(
        replace(what, arrival_s=what.arrival_s / 2),
        [replace(server, pace=Faster(server.pace)) for server in servers],
        [Epoch(epoch.at_s / 2, tuple(faster_lane(lane) for lane in epoch.lanes)) for epoch in epochs],
        [Failure(failure.server, failure.at_s / 2) for failure in failures],
        seed=3,
    )
    assert fast.first_s.tolist() == pytest.approx((slow.first_s / 2).tolist(), rel=1e-6)
    assert fast.last_s.tolist() == pytest.approx((slow.last_s / 2).tolist(), rel=1e-6)


class Faster:
    """A pace twice as fast."""

    def __init__(self, pace):
        self.pace = pace

    def __getattr__(self, name):
        return getattr(self.pace, name)

    def turn_s(self, *load):
        return self.pace.turn_s(*load) / 2

    def decode_step_s(self, *load):
        return self.pace.decode_step_s(*load) / 2


def faster_lane(lane: Lane) -> Lane:
    return replace(
        lane,
        latency_s=lane.latency_s / 2,
        packing_s_per_token=lane.packing_s_per_token / 2,
        wires=tuple(Wire(wire.name, wire.bytes_per_s * 2) for wire in lane.wires),
    )


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_prompts_that_fill_a_pass_each_wait_as_in_an_m_d_1_queue(busy):
    """Pollaczek-Khinchine for equal service times S: the mean wait is rho S / (2 (1 - rho))."""
    count, service = 100_000, 0.1 + 2.048
    arrival = poisson(count, busy / service, np.random.default_rng(1))
    what = Requests(arrival, np.full(count, 2048.0), np.ones(count))
    found = played(what, [Server(STEADY, 10**6)], Lane(0, 0, 1.0))
    waited = (found.first_s - what.arrival_s - service).mean()
    assert waited == pytest.approx(busy * service / (2 * (1 - busy)), rel=0.03)
    assert found.busy_share[0] == pytest.approx(busy, rel=0.01)


def test_a_batch_without_limits_holds_what_littles_law_says():
    server = Server(linear_pace(fixed_s=0.05), 10**9, max_sequences=10**6)
    arrival = np.cumsum(np.random.default_rng(4).exponential(0.1, 5000))
    what = Requests(arrival, np.full(5000, 10.0), np.full(5000, 41.0))
    found = played(what, [server], Lane(0, 0, 1.0))
    assert (found.last_s - found.first_s).mean() == pytest.approx(40 * 0.05)
