"""How busy it was at most."""

from thunderctl.controller.sizing.lulls import GAP_S, KEPT_S, Peaks


def watched(*loads, every_s=30.0, since=0.0):
    peaks = Peaks()
    for number, load in enumerate(loads):
        peaks = peaks.noted(since + number * every_s, load)
    return peaks, since + (len(loads) - 1) * every_s


def test_the_most_of_the_last_while_counts():
    peaks, at = watched(*[9.0] * 10, *[1.0] * 30)
    assert peaks.over(at, 600.0) == 1.0
    assert peaks.over(at, 1100.0) == 9.0


def test_what_was_not_watched_all_the_time_is_not_known():
    peaks, at = watched(*[1.0] * 10)
    assert peaks.over(at, 270.0) == 1.0
    assert peaks.over(at, 271.0) is None
    assert peaks.over(at + GAP_S + 60, 60.0) is None
    assert peaks.noted(at + GAP_S + 120, 1.0).over(at + GAP_S + 120, 60.0) is None
    assert Peaks().over(0.0, 1.0) is None


def test_a_clock_that_is_set_back_begins_anew():
    peaks, at = watched(*[1.0] * 10)
    assert peaks.noted(at - 3600, 2.0).over(at - 3600, 60.0) is None


def test_what_is_kept_is_bounded():
    peaks, _ = watched(*[1.0] * int(2 * KEPT_S / 30))
    assert len(peaks.seen) <= KEPT_S / 60 + 2
