"""KV transfers that meet on wires, in closed form: servers take no time, a token is a byte."""

import numpy as np
import pytest

from planner.simulation.scenario import Failure, Lane, Requests, Timings, Wire
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


def test_many_transfers_that_share_one_wire_wait_as_processor_sharing_predicts():
    """M/G/1-PS: the mean time of a transfer is its time alone ÷ (1 - utilisation), whatever the sizes."""
    random = np.random.default_rng(2)
    count, busy = 30_000, 0.6
    what = Requests(poisson(count, busy, random), random.choice([200.0, 1800.0], count), np.ones(count))
    found = played(what, [AT_ONCE] * 2, lane(0, 1, OUT))
    assert (found.first_s - what.arrival_s).mean() == pytest.approx(1.0 / (1 - busy), rel=0.03)
