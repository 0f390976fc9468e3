"""KV transfers that meet on wires, in closed form: servers take no time, a token is a byte."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.agenda import Agenda
from planner.simulation.job import Job
from planner.simulation.scenario import Failure, Lane, Requests, Timings, Wire
from planner.simulation.transfers import Transfers
from tests.planner.simulation.worlds import AT_ONCE, played, poisson, requests

OUT, NARROW, IN = Wire("i0 out", 1000.0), Wire("i0 to i1", 500.0), Wire("i1 in", 1000.0)


def lane(prefill: int, decode: int, *wires: Wire, share: float = 1.0) -> Lane:
    return Lane(prefill, decode, share, wire_bytes_per_token=1.0, wires=wires)


def took(found: Timings, what: Requests) -> list[float]:
    """Seconds from arrival to the first token: all of it transfer."""
    return (found.first_s - what.arrival_s).tolist()


def test_one_transfer_has_the_whole_wire():
    what = requests((0.0, 1000, 1))
    assert took(played(what, [AT_ONCE] * 2, lane(0, 1, OUT)), what) == pytest.approx([1.0], abs=1e-6)


def test_latency_and_packing_on_both_sides_come_on_top():
    what = requests((0.0, 1000, 1))
    whole = Lane(0, 1, 1.0, latency_s=0.05, packing_s_per_token=1e-4, wire_bytes_per_token=1.0, wires=(OUT,))
    assert took(played(what, [AT_ONCE] * 2, whole), what) == pytest.approx([0.1 + 0.05 + 1.0 + 0.1], abs=1e-6)


def test_two_equal_transfers_at_once_take_twice_as_long():
    what = requests((0.0, 1000, 1), (0.0, 1000, 1))
    assert took(played(what, [AT_ONCE] * 2, lane(0, 1, OUT)), what) == pytest.approx([2.0, 2.0], abs=1e-6)


def test_a_transfer_that_comes_later_shares_what_is_left():
    what = requests((0.0, 1000, 1), (0.5, 1000, 1))
    assert took(played(what, [AT_ONCE] * 2, lane(0, 1, OUT)), what) == pytest.approx([1.5, 1.5], abs=1e-6)


def test_a_short_transfer_leaves_the_wire_to_the_long_one():
    what = requests((0.0, 1000, 1), (0.0, 100, 1))
    assert took(played(what, [AT_ONCE] * 2, lane(0, 1, OUT)), what) == pytest.approx([1.1, 0.2], abs=1e-6)


def test_the_narrowest_wire_decides():
    what = requests((0.0, 1000, 1))
    assert took(played(what, [AT_ONCE] * 2, lane(0, 1, OUT, NARROW, IN)), what) == pytest.approx([2.0], abs=1e-6)


def test_transfers_from_two_instances_meet_on_the_way_in():
    what = requests((0.0, 1000, 1), (0.0, 1000, 1))
    lanes = lane(0, 2, OUT, IN, share=0.5), lane(1, 2, Wire("i2 out", 1000.0), IN, share=0.5)
    assert took(played(what, [AT_ONCE] * 3, *lanes), what) == pytest.approx([2.0, 2.0], abs=1e-6)


def test_transfers_over_different_wires_do_not_meet():
    what = requests((0.0, 1000, 1), (0.0, 1000, 1))
    lanes = lane(0, 1, OUT, share=0.5), lane(2, 3, IN, share=0.5)
    assert took(played(what, [AT_ONCE] * 4, *lanes), what) == pytest.approx([1.0, 1.0], abs=1e-6)


def test_a_failure_frees_the_wire():
    what = requests((0.0, 1000, 1), (0.0, 1000, 1))
    lanes = lane(0, 1, OUT, share=0.5), lane(0, 2, OUT, share=0.5)
    found = played(what, [AT_ONCE] * 3, *lanes, failures=[Failure(2, 1.0)])
    failed = int(np.argmax(found.first_s))
    assert found.first_s[1 - failed] == pytest.approx(2.0, abs=1e-6)  # the other starts again and shares from 1.0 on
    assert found.first_s[failed] == pytest.approx(2.5, abs=1e-6)


def test_a_wire_that_carries_half_of_the_bytes_is_through_in_half_the_time():
    what = requests((0.0, 1000, 1))
    both = Lane(0, 1, 1.0, wire_bytes_per_token=1.0, wires=(OUT, IN), parts=(0.5, 0.25))
    assert took(played(what, [AT_ONCE] * 2, both), what) == pytest.approx([0.5], abs=1e-6)


def test_transfers_of_whole_and_part_advance_alike_on_the_wire_they_share():
    """1500 bytes in all cross 1000 bytes/s, of which one puts twice as many on it as the other."""
    what = requests((0.0, 1000, 1), (0.0, 1000, 1))
    whole = lane(0, 2, OUT, share=0.5)
    half = Lane(1, 3, 0.5, wire_bytes_per_token=1.0, wires=(OUT, IN), parts=(0.5, 0.5))
    assert took(played(what, [AT_ONCE] * 4, whole, half), what) == pytest.approx([1.5, 1.5], abs=1e-6)


def test_parts_of_all_change_nothing():
    random = np.random.default_rng(3)
    what = Requests(poisson(2000, 0.8, random), random.choice([200.0, 1800.0], 2000), np.ones(2000))
    one, other = (
        played(what, [AT_ONCE] * 3, *[replace(lane(i, 2, OUT, IN, share=0.5), parts=parts) for i in (0, 1)])
        for parts in ((), (1.0, 1.0))
    )
    assert one.first_s == pytest.approx(other.first_s, rel=1e-12)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 2000), st.integers(0, 3)), min_size=1, max_size=25))
def test_no_wire_carries_more_than_it_can_and_every_byte_is_carried(sent):
    """While a wire is busy it carries what is put on it: over its busy time no more than its bytes/s."""
    parts = [(1.0, 0.25), (0.5, 0.5), (0.125, 1.0), (0.75, 0.25)]
    lanes = [Lane(i, 4, 0.25, wire_bytes_per_token=1.0, wires=(OUT, IN), parts=each) for i, each in enumerate(parts)]
    agenda, ended = Agenda(), dict[int, float]()
    transfers = Transfers(lanes, agenda, lambda now, job: ended.update({job.request: now}))
    for number, (at_s, size, which) in enumerate(sent):
        agenda.at(at_s, transfers.start, Job(number, lanes[which], float(size), 1.0, 0.0))
    agenda.play()
    assert len(ended) == len(sent)
    for k, wire in enumerate((OUT, IN)):
        for since in (at_s for at_s, *_ in sent):
            later = [n for n, (at_s, *_) in enumerate(sent) if at_s >= since]
            carried = sum(sent[n][1] * parts[sent[n][2]][k] for n in later)
            assert carried <= (max(ended[n] for n in later) - since) * wire.bytes_per_s + 1e-3


def test_many_transfers_that_share_one_wire_wait_as_processor_sharing_predicts():
    """M/G/1-PS: the mean time of a transfer is its time alone ÷ (1 - utilisation), whatever the sizes."""
    random = np.random.default_rng(2)
    count, busy = 30_000, 0.6
    what = Requests(poisson(count, busy, random), random.choice([200.0, 1800.0], count), np.ones(count))
    found = played(what, [AT_ONCE] * 2, lane(0, 1, OUT))
    assert (found.first_s - what.arrival_s).mean() == pytest.approx(1.0 / (1 - busy), rel=0.03)
