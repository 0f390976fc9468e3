"""A clock that is set must not end leases; time that really passed must."""

from hypothesis import given
from hypothesis import strategies as st

from thunderctl.controller.clock import HELD_S, TOLERANCE_S, SteadyClock


class Clocks:
    """The wall clock, and the time that has passed: they part when somebody sets the first."""

    def __init__(self):
        self.wall, self.passed = 1_000_000.0, 500.0
        self.steady = SteadyClock(lambda: self.wall, lambda: self.passed)

    def go(self, seconds, step=1.0):
        for _ in range(round(seconds / step)):
            self.wall += step
            self.passed += step
            self.steady()
        return self.steady()


def test_it_shows_the_time_of_day():
    clocks = Clocks()
    assert clocks.go(100) == clocks.wall


def test_a_clock_that_is_set_ahead_by_hours_does_not_move_it_at_once():
    clocks = Clocks()
    clocks.wall += 12 * 3600
    assert clocks.go(60) == clocks.wall - 12 * 3600
    assert clocks.steady.jump_s == 12 * 3600


def test_a_jump_that_is_taken_back_is_as_if_it_had_never_been():
    clocks = Clocks()
    clocks.wall += 3600
    clocks.go(HELD_S / 2)
    clocks.wall -= 3600
    assert clocks.go(10) == clocks.wall
    assert clocks.steady.jump_s == 0


def test_a_jump_that_stands_counts_after_a_while():
    clocks = Clocks()
    clocks.wall -= 7200
    assert clocks.go(HELD_S - 5) == clocks.wall + 7200
    assert clocks.go(10) == clocks.wall
    assert clocks.steady.jump_s == 0


def test_hours_asleep_have_passed():
    """A laptop's sleep is in both clocks: leases went on all the while."""
    clocks = Clocks()
    clocks.wall += 8 * 3600
    clocks.passed += 8 * 3600
    assert clocks.go(1) == clocks.wall


def test_slewing_is_followed():
    clocks = Clocks()
    for _ in range(100):
        clocks.wall += 1.0
        clocks.go(10)
    assert abs(clocks.steady() - clocks.wall) <= TOLERANCE_S
    assert clocks.steady.jump_s == 0


@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(0, 100)), max_size=5))
def test_however_it_is_set_within_ten_minutes_time_goes_on_as_it_passed(jumps):
    clocks = Clocks()
    before = clocks.steady()
    for jump, seconds in jumps:
        clocks.wall += jump + seconds
        clocks.passed += seconds
        now = clocks.steady()
        assert abs(now - before - seconds) <= TOLERANCE_S + 1e-6
        before = now
