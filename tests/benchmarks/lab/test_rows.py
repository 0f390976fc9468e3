"""What the lab's rows make of what they saw. Pure."""

import os
from collections import Counter
from contextlib import closing
from multiprocessing.shared_memory import SharedMemory
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.lab.deployment import ADAPTING, spec_text
from benchmarks.lab.failing import Outlived, together
from benchmarks.lab.harms import HARMS
from benchmarks.lab.leavings import Traces, lines_of
from benchmarks.lab.load import Load, failures_said
from benchmarks.lab.predicted import error
from benchmarks.lab.shifting import CALM_S, after
from benchmarks.lab.splits import pairs_foreseen
from planner.simulation.scenario import Requests
from planner.workload import Slo
from thunderctl.bench.load import Answer
from thunderctl.bench.tally import Tally
from thunderctl.spec.spec import parse_spec

SLO = Slo(ttft_s=1.0, tpot_s=0.1)


def requests(*arrival_s):
    return Requests(np.array(arrival_s, dtype=float), np.full(len(arrival_s), 10.0), np.full(len(arrival_s), 11.0))


@pytest.fixture
def load():
    """One request a second: the third is late, the fourth fails, the fifth's tokens are slow, the sixth is well."""
    tally = Tally.of(requests(0, 1, 2, 3, 4, 5), SLO)
    for number, (first_s, last_s) in enumerate([(0.5, 1.0), (0.5, 1.0), (1.5, 2.0), (0, 0), (0.5, 2.0), (0.5, 1.0)]):
        tally.sent(number, float(number))
        if number == 3:
            tally.failed(number, "broke off")
        else:
            tally.answered(number, Answer(first_s, last_s, 11))
    return Load(tally)


def test_trouble_lasts_until_the_last_request_that_failed_or_missed_a_target(load):
    assert load.troubled_s(1.5) == pytest.approx(2.5)
    assert load.troubled_s(4.5) == 0.0
    assert load.worst_ttft_s(1.5) == pytest.approx(1.5)
    assert failures_said(load.tally.begun, load.tally.causes) == "1 of 6 (1 x broke off)"


def test_of_a_harm_done_several_times_the_worst_is_told():
    one = Outlived(HARMS[0], 10, Counter({"broke off": 1}), 2.0, 1.0, 30.0)
    other = Outlived(HARMS[0], 12, Counter({"broke off": 2}), 1.0, 3.0, 20.0)
    assert together([one, other]) == Outlived(HARMS[0], 22, Counter({"broke off": 3}), 2.0, 3.0, 30.0)


def test_an_order_is_foreseen_pair_by_pair():
    assert pairs_foreseen([1, 2, 3], [10, 20, 30]) == (3, 3)
    assert pairs_foreseen([1, 2, 3], [10, 30, 20]) == (2, 3)


def test_of_pairs_that_were_measured_alike_no_order_is_asked():
    assert pairs_foreseen([1.0, 1.05, 2.0], [20, 10, 30]) == (2, 2)


def test_an_error_is_of_what_was_measured():
    assert error(1.2, 1.0) == pytest.approx(0.2)
    assert error(1.2, None) is None


def test_the_second_workload_comes_when_the_first_is_over():
    both = after(requests(0, 5), requests(0, 1))
    assert both.arrival_s.tolist() == [0, 5, CALM_S, CALM_S + 1]


def test_shared_memory_is_known_as_long_as_it_is_there():
    with closing(SharedMemory(create=True, size=16)) as segment:
        traces = Traces()
        traces.note([SimpleNamespace(group=SimpleNamespace(pids=lambda: [os.getpid()]))])
        try:
            assert segment.name.strip("/") in traces.left["shared memory of its engines"]
        finally:
            segment.unlink()
        assert segment.name.strip("/") not in traces.left["shared memory of its engines"]


def test_what_is_left_is_counted_and_named():
    assert lines_of({"leases": [], "processes": ["one", "two"]})[-2:] == [
        "| leases | 0 |",
        "| processes | 2, `one`, `two` |",
    ]


def test_the_spec_is_one(tmp_path):
    spec = parse_spec(spec_text([], ADAPTING, tmp_path / "trace.csv"))
    assert (spec.controller.rebalance, spec.controller.assess_s) == (True, 2)
    assert spec.markets.providers == ("ssh",)
