"""The formulas against queues played out arrival by arrival, and against each other where they must agree."""

import numpy as np
import pytest

from planner.arrivals import arrival_times
from planner.parallel.queueing import peakedness, square_work, waits_within, work_within

ARRIVALS = 200_000


def waits_of(service_s, busy, burstiness):
    """Waits at one server (Lindley): each is the last one's wait and service, less the time since it came."""
    random = np.random.default_rng(11)
    rate_rps = busy / service_s.mean()
    arrival = arrival_times(ARRIVALS, rate_rps, burstiness=burstiness, random=random)
    steps = random.choice(service_s, ARRIVALS)[:-1] - np.diff(arrival)
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    return walk - np.minimum.accumulate(walk)


def mean_wait_s(service_s, busy, burstiness):
    """What the formula's distribution has as its mean: the integral of the chance of waiting longer."""
    grid = np.linspace(0, 400 * service_s.mean(), 40_001)
    within = waits_within(grid[None, :], service_s[None, :], np.array([busy]), 1 / burstiness)[0]
    return float(np.trapezoid(1 - within, grid))


@pytest.mark.parametrize("service_s", [np.array([1.0]), np.array([0.5, 0.5, 1.0, 4.0])], ids=["alike", "uneven"])
@pytest.mark.parametrize("busy", [0.5, 0.8])
def test_with_poisson_arrivals_the_mean_wait_is_pollaczek_khinchine(service_s, busy):
    expected = busy * (service_s**2).mean() / (2 * service_s.mean() * (1 - busy))
    assert mean_wait_s(service_s, busy, 1.0) == pytest.approx(expected, rel=0.01)
    assert waits_of(service_s, busy, 1.0).mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("service_s", [np.array([1.0]), np.array([0.5, 0.5, 1.0, 4.0])], ids=["alike", "uneven"])
@pytest.mark.parametrize("burstiness", [0.25, 0.5, 2.0, 8.0])
def test_other_arrivals_wait_about_as_long_as_foretold(service_s, burstiness):
    played = waits_of(service_s, 0.8, burstiness).mean()
    assert mean_wait_s(service_s, 0.8, burstiness) == pytest.approx(played, rel=0.2, abs=0.07)


def test_burstier_arrivals_wait_longer_and_even_ones_less():
    slack, service = np.array([[2.0]]), np.array([[0.5, 1.5]])
    chances = [waits_within(slack, service, np.array([0.7]), 1 / b)[0, 0] for b in (0.2, 0.5, 1.0, 2.0, 8.0)]
    assert chances == sorted(chances)
    assert chances[-1] - chances[0] > 0.2


@pytest.mark.parametrize("burstiness", [0.5, 4.0, 16.0])
@pytest.mark.parametrize("busy", [0.3, 0.6])
def test_as_many_wait_at_all_as_foretold(burstiness, busy):
    service_s = np.array([0.5, 0.5, 1.0, 2.0])
    found = waits_within(np.zeros((1, 1)), service_s[None, :], np.array([busy]), 1 / burstiness)[0, 0]
    assert 1 - found == pytest.approx((waits_of(service_s, busy, burstiness) > 0).mean(), abs=0.1)


@pytest.mark.parametrize("burstiness", [2.0, 4.0, 16.0])
@pytest.mark.parametrize("arrivals", [0.3, 0.8, 2.0, 10.0])
def test_after_an_arrival_even_ones_leave_time_without_any(burstiness, arrivals):
    random = np.random.default_rng(4)
    service_s = np.array([0.5, 1.0, 1.5])
    came = np.cumsum(random.gamma(burstiness, 1 / burstiness, (20_000, 60)), axis=1) <= arrivals
    work = np.where(came, random.choice(service_s, came.shape), 0.0).sum(axis=1)
    for allowed in (0.0, np.quantile(work, 0.9) + 0.01):
        found = work_within(np.array([[allowed]]), np.array([[arrivals]]), service_s[None, :], 1 / burstiness)[0, 0]
        assert found == pytest.approx((work <= allowed).mean(), abs=0.1)


def test_nobody_is_within_a_slack_below_zero():
    assert waits_within(np.array([[-0.1, 0.0]]), np.array([[1.0]]), np.array([0.5]), 1.0).tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize("arrivals", [0.1, 0.6, 3.0, 30.0])
@pytest.mark.parametrize("service_s", [np.linspace(0.5, 1.5, 99), np.geomspace(0.1, 4.0, 99)], ids=["alike", "uneven"])
def test_the_chance_that_a_time_brings_little_work_is_about_what_is_seen(arrivals, service_s):
    random = np.random.default_rng(4)
    work = np.array([random.choice(service_s, n).sum() for n in random.poisson(arrivals, 20_000)])
    for allowed in (0.0, *np.quantile(work, (0.7, 0.9, 0.97)) + 0.01):
        found = work_within(np.array([[allowed]]), np.array([[arrivals]]), service_s[None, :], 1.0)[0, 0]
        assert found == pytest.approx((work <= allowed).mean(), abs=0.08)


@pytest.mark.parametrize("burstiness", [0.25, 4.0])
def test_work_that_comes_in_bursts_leaves_more_time_without_any(burstiness):
    chances = [
        work_within(np.array([[0.1]]), np.array([[2.0]]), np.array([[1.0, 2.0]]), variation)[0, 0]
        for variation in (1 / burstiness, 1.0)
    ]
    assert (chances[0] > chances[1]) == (burstiness < 1)


def test_no_work_is_within_less_than_no_time():
    assert work_within(np.array([[-0.1]]), np.array([[0.01]]), np.array([[1.0]]), 1.0)[0, 0] == 0.0


def test_the_work_of_poisson_arrivals_spreads_by_the_second_moment():
    service = np.array([[1.0, 2.0, 6.0]])
    assert square_work(service, 1.0) == pytest.approx((service**2).mean(axis=1))
    assert square_work(service, 0.0) == pytest.approx(service.var(axis=1))


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_the_number_in_service_spreads_by_the_peakedness(burstiness):
    random = np.random.default_rng(2)
    arrival = arrival_times(400_000, 20.0, burstiness=burstiness, random=random)
    gone = np.sort(arrival + random.exponential(5.0, len(arrival)))
    seen = np.linspace(100.0, arrival[-1] - 100.0, 40_000)
    inside = np.searchsorted(arrival, seen) - np.searchsorted(gone, seen)
    assert inside.var() / inside.mean() == pytest.approx(peakedness(1 / burstiness), rel=0.1)


def test_arrivals_and_services_that_never_vary_never_wait():
    assert waits_within(np.zeros((1, 1)), np.array([[1.0, 1.0]]), np.array([0.6]), 0.0).min() > 0.99
