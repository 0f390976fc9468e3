import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.arrivals import arrival_times
from planner.errors import SpecError


def gaps(count=200_000, rate_rps=4.0, *, burstiness=1.0, seed=3):
    return np.diff(arrival_times(count, rate_rps, burstiness=burstiness, random=np.random.default_rng(seed)), prepend=0)


def variation(values):
    return values.var() / values.mean() ** 2


@pytest.mark.parametrize("burstiness", [0.25, 0.5, 1.0, 4.0])
def test_gaps_have_the_mean_of_the_rate_and_the_variation_of_the_shape(burstiness):
    found = gaps(burstiness=burstiness)
    assert found.mean() == pytest.approx(0.25, rel=0.02)
    assert variation(found) == pytest.approx(1 / burstiness, rel=0.03)


def test_burstiness_one_is_poisson():
    """Gaps are exponential, and the number in a second has a variance like its mean."""
    found = gaps()
    for seconds in (0.05, 0.25, 1.0):
        assert (found > seconds).mean() == pytest.approx(np.exp(-4 * seconds), abs=0.005)
    counts = np.bincount(np.cumsum(found).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1.0, rel=0.03)


@settings(max_examples=50)
@given(st.integers(0, 500), st.floats(1e-3, 1e4), st.floats(0.001, 1000.0), st.integers(0, 9))
def test_arrivals_are_as_many_as_asked_in_order_and_the_same_for_a_seed(count, rate_rps, burstiness, seed):
    once, again = (
        arrival_times(count, rate_rps, burstiness=burstiness, random=np.random.default_rng(seed)) for _ in range(2)
    )
    assert len(once) == count
    assert (np.diff(once, prepend=0.0) >= 0).all()
    assert np.isfinite(once).all()
    assert (once == again).all()


def test_at_twice_the_rate_they_come_in_half_the_time():
    slow, fast = (np.cumsum(gaps(1000, rate, burstiness=0.5)) for rate in (2.0, 4.0))
    assert fast == pytest.approx(slow / 2)


@pytest.mark.parametrize(
    ("count", "rate_rps", "burstiness", "message"),
    [
        (-1, 1.0, 1.0, "-1 arrivals were asked for"),
        (1, 0.0, 1.0, "rate is 0.0 requests/s"),
        (1, float("nan"), 1.0, "rate is nan requests/s"),
        (1, 1.0, 0.0, "Burstiness is 0.0; expected 0.001 or more"),
        (1, 1.0, float("inf"), "Burstiness is inf"),
    ],
)
def test_nonsense_is_an_error(count, rate_rps, burstiness, message):
    with pytest.raises(SpecError, match=message):
        arrival_times(count, rate_rps, burstiness=burstiness, random=np.random.default_rng(0))


@pytest.mark.parametrize("burstiness", [0.5, 1.0])
def test_every_fourth_of_them_comes_as_arrivals_of_four_times_the_shape(burstiness):
    """What a replica with a quarter of the traffic gets from a router that deals requests out in rotation."""
    every = np.cumsum(gaps(400_000, burstiness=burstiness))
    assert variation(np.diff(every[::4])) == pytest.approx(1 / (4 * burstiness), rel=0.03)
    assert variation(gaps(100_000, 1.0, burstiness=4 * burstiness)) == pytest.approx(1 / (4 * burstiness), rel=0.03)
