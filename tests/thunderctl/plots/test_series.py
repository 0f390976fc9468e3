import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.evaluate import Outcomes, measure
from planner.workload import Slo
from thunderctl.plots.series import POINTS, cumulative, windows

SECONDS = st.floats(1e-3, 1e3)


def outcomes_of(ttft, tpot):
    ttft, tpot = np.array(ttft, dtype=float), np.array(tpot, dtype=float)
    return Outcomes(ttft, tpot, ttft + 10 * tpot, np.full(len(ttft), 11.0))


def test_the_curve_says_what_share_is_at_or_below_each_value():
    x, share = cumulative(np.array([3.0, 1.0, 2.0, np.inf]), 4)
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert share.tolist() == [0.25, 0.5, 0.75]


def test_where_nothing_ended_there_is_no_curve():
    x, share = cumulative(np.array([np.inf, np.inf]), 2)
    assert (len(x), len(share)) == (0, 0)


def test_a_long_run_is_thinned_and_keeps_its_ends():
    values = np.random.default_rng(0).lognormal(size=100_000)
    x, share = cumulative(values, len(values))
    assert len(x) <= POINTS
    assert (x[0], x[-1], share[-1]) == (values.min(), values.max(), 1.0)
    for level in (0.1, 0.5, 0.99):
        assert np.interp(level, share, x) == pytest.approx(np.quantile(values, level), rel=0.01)


@given(st.lists(st.tuples(SECONDS, SECONDS, st.floats(0, 1e4)), min_size=1, max_size=200))
def test_windows_together_are_the_whole_run(requests):
    ttft, tpot, arrival = np.array(requests).T
    found, slo = outcomes_of(ttft, tpot), Slo()
    by_time = windows(np.sort(arrival), found, slo)
    arrived = by_time.arrival_rps * np.diff(by_time.edges_s)
    assert arrived.sum() == pytest.approx(len(requests))
    assert np.nansum(by_time.both * arrived) / arrived.sum() == pytest.approx(measure(found, slo, 1.0).slo_attainment)
    assert (np.isnan(by_time.both) == (arrived == 0)).all()
    for one in (by_time.ttft, by_time.tpot):
        assert (by_time.both <= one + 1e-9)[arrived > 0].all()


def test_a_request_that_was_lost_met_no_target():
    by_time = windows(np.array([0.0, 1.0]), outcomes_of([0.1, np.inf], [0.01, 0.01]), Slo())
    assert (by_time.ttft[0], by_time.tpot[0], by_time.both[0]) == (0.5, 0.5, 0.5)


def test_windows_are_as_many_as_the_requests_bear():
    found = outcomes_of(np.full(10_000, 0.1), np.full(10_000, 0.1))
    assert len(windows(np.arange(10_000.0), found, Slo()).both) == 60
    few = outcomes_of(np.full(60, 0.1), np.full(60, 0.1))
    assert len(windows(np.arange(60.0), few, Slo()).both) == 2
