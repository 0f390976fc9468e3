"""Bars, sparklines, charts, columns over time and words: pure, so each is held to what it draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thunderctl import words
from thunderctl.tui import columns
from thunderctl.tui.drawing import bar, chart, spark, top_of
from thunderctl.tui.room import heights
from thunderctl.tui.series import columns_of, window_of
from thunderctl.tui.theme import BAD, GOOD, WARN

SHARES = st.floats(0, 2, allow_nan=False)


@given(SHARES, st.floats(0, 5), st.integers(1, 60))
def test_a_bar_is_as_wide_as_it_should_be_and_hides_neither_a_little_nor_what_waits(share, more, width):
    drawn = bar(share, width, GOOD, more=more).plain
    assert len(drawn) == width
    if more > 0:
        assert "╍" in drawn
    elif share > 0:
        assert drawn[0] in "━╸"


def test_a_bar_that_is_half_full_is_filled_by_half():
    assert bar(0.5, 10, GOOD).plain == "━━━━━─────"
    assert bar(0.25, 10, GOOD).plain == "━━╸───────"
    assert bar(0.5, 10, GOOD, more=0.3).plain == "━━━━━╍╍╍──"
    assert bar(1.7, 10, GOOD).plain == "━" * 10


def test_a_sparkline_is_good_within_the_target_warns_above_it_and_is_bad_where_half_of_all_are_late():
    drawn = spark([0.5, 0.5, 3.0, None], [1.0, 2.5, 5.0, None], 2.0)
    assert [str(span.style) for span in drawn.spans] == [GOOD, WARN, BAD]
    assert drawn.plain[-1] == " "


def test_a_scale_has_room_above_the_target_and_is_not_flattened_by_one_slow_answer():
    assert top_of([0.1], 2.0) == 2.5
    assert top_of([4.0], 2.0) == 4.0
    assert top_of([60.0], 2.0) == 6.0
    assert top_of([], None) == 1.0


def test_a_chart_has_its_columns_and_the_line_of_its_target():
    lines = [line.plain for line in chart([1.0, 1.0, None], [2.0, 1.0, None], 1.6, 4)]
    assert lines == ["╌╌╌", "█  ", "██ ", "██ "]


@given(
    st.lists(st.floats(0, 1e4) | st.none(), min_size=1, max_size=30),
    st.floats(0.01, 100) | st.none(),
    st.integers(1, 9),
)
def test_a_chart_is_as_large_as_it_should_be_whatever_was_measured(values, target, height):
    lines = chart(values, values, target, height)
    assert len(lines) == height
    assert {line.cell_len for line in lines} == {len(values)}


def test_columns_take_the_highest_of_their_time_and_hold_it_for_a_while_only():
    points = [{"at": 100.0, "x": 1.0}, {"at": 101.0, "x": 3.0}, {"at": 104.0, "x": None}]
    assert columns_of(points, "x", now=160.0, window_s=64.0, width=16) == [1.0, 3.0, 3.0, 3.0, 3.0, *[None] * 11]
    assert columns_of([], "x", now=160.0, window_s=64.0, width=4) == [None] * 4
    assert columns_of([{"at": 999.0, "x": 1.0}], "x", now=160.0, window_s=64.0, width=4) == [None] * 4


@pytest.mark.parametrize(("age_s", "window_s"), [(5, 60), (61, 300), (400, 900), (3000, 900)])
def test_a_screen_just_opened_shows_a_short_window(age_s, window_s):
    assert window_of([{"at": 1000.0 - age_s}], 1000.0, 900.0) == window_s


@given(
    st.integers(0, 60),
    st.dictionaries(st.sampled_from(["replicas", "routes", "happened"]), st.integers(1, 50)).map(
        lambda wanted: wanted | {"happened": 5}
    ),
)
def test_room_is_given_away_whole_and_everybody_has_a_title_and_a_line(room, wanted):
    given_ = heights(room, wanted, ["replicas", "routes", "happened"])
    assert min(given_.values()) >= 2
    assert sum(given_.values()) == max(room, 2 * len(wanted))


def test_who_wants_little_leaves_the_rest_to_others():
    turns = ["replicas", "replicas", "routes", "happened"]
    assert heights(20, {"replicas": 3, "routes": 30, "happened": 4}, turns) == {
        "replicas": 3,
        "routes": 13,
        "happened": 4,
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.usd(0.06), "$0.060"),
        (words.usd(13.54), "$13.54"),
        (words.usd(1204.4), "$1,204"),
        (words.span(45), "45 s"),
        (words.span(29519.9), "8 h 12 min"),
        (words.span(3 * 86400 + 4 * 3600), "3 d 4 h"),
        (words.seconds(0.31), "310 ms"),
        (words.seconds(None), "-"),
        (words.gbit(3.5249), "3.52 Gbit/s"),
        (words.moment("2027-01-15T09:00:00+01:00"), "08:00:00"),
    ],
)
def test_figures_in_words(said, expected):
    assert said == expected


@given(st.text(max_size=40), st.integers(0, 20))
def test_a_clipped_name_is_never_wider_than_its_column(name, width):
    assert len(columns.clipped(name, width)) <= width


def test_a_clipped_name_keeps_its_end_by_which_it_is_told_apart():
    assert columns.clipped("production-europe-d17", 11) == "produ…e-d17"
