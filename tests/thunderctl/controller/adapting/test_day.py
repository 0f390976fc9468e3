"""A simulated day on which the workload goes back and forth: the controller follows, and does not flap.

Of 24 hours for `make soak`, of 8 otherwise.
"""

import pytest

from tests.thunderctl.controller.adapting.days import CODING, CONVERSATION, fleet, hourly, lived, suiting, swinging
from thunderctl.controller.adapting.drift import Pace


@pytest.mark.parametrize("hours", [8, pytest.param(24, marks=pytest.mark.soak)])
def test_over_an_oscillating_day_flips_are_few_the_mean_is_better_and_no_hour_is_much_worse(hours):
    """The static plan is the one that suits both workloads together best."""
    static = suiting(fleet(), CODING, CONVERSATION)
    day = swinging(seed=1, dwell_s=3600.0, rates=(0.4, 1.2), hours=hours)
    made = lived(static, day, pace=Pace(), assess_s=30.0)
    adaptive_by_hour, adaptive = hourly(static, day, made)
    static_by_hour, kept = hourly(static, day)
    assert len(adaptive_by_hour) == hours
    assert 0 < len(made.changes) <= 2 * len(day.spells)
    assert adaptive >= kept
    assert min(adaptive_by_hour - static_by_hour) >= -0.03


def test_a_workload_that_swings_faster_than_pays_is_not_followed_each_time():
    """Every five minutes, for an hour: what is changed has to stand, and for longer each time it is taken back."""
    start = suiting(fleet(), CONVERSATION)
    day = swinging(seed=2, dwell_s=300.0, rates=(0.8, 1.2), hours=1.0)
    made = lived(start, day, pace=Pace(), assess_s=60.0)
    assert len(made.changes) <= 5 < len(day.spells)
    apart = [later.at - one.at for one, later in zip(made.changes, made.changes[1:], strict=False)]
    assert all(seconds >= Pace().cool_down_s for seconds in apart)
