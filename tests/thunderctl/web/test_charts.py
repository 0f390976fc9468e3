"""Charts tell the truth: axes from 0, targets within, gaps where nobody measured, the worst where there is much."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.thunderctl.tui import worlds
from tests.thunderctl.web.deployments import whole_series
from thunderctl.web.charts import MOST_COLUMNS, charts_of
from thunderctl.web.scales import MOST_TICKS, Scale, scale_over, times_of, window_over

NOTHING = dict.fromkeys(whole_series()[0])


def chart(name, points, status=None):
    return next(one for one in charts_of(status or worlds.serving(), points) if one.chart_id == name)


def point(at, **known):
    return {**NOTHING, "at": worlds.NOW + at, **known}


def corners(path):
    return [(kind, float(x), float(y)) for kind, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)h", path)]


@given(st.floats(1e-6, 1e9))
def test_a_scale_holds_what_it_is_made_for_in_a_few_round_steps(most):
    scale = scale_over(most)
    assert scale.top >= most
    assert 1 <= len(scale.ticks) <= MOST_TICKS
    assert (scale.at(0.0), scale.at(scale.top)) == (100.0, 0.0)
    assert f"{scale.step:.2e}"[:4] in ("1.00", "2.00", "2.50", "5.00")


def test_of_nothing_there_is_a_scale_too():
    assert scale_over(0.0).top == 1.0


def test_a_target_is_within_the_chart_however_low_the_line():
    found = chart("ttft", [point(-5, ttft_p50_s=0.1, ttft_p99_s=0.2), point(0, ttft_p50_s=0.1, ttft_p99_s=0.2)])
    assert 0 < found.target_at < 20
    assert found.target == "SLO 2.00 s"


def test_nothing_is_clipped_however_late_it_is():
    found = chart("ttft", [point(-5, ttft_p99_s=0.2), point(0, ttft_p99_s=90.0)])
    _, (_, _, top) = corners(found.lines[0].path)
    assert 0 < top < 10


def test_attainment_is_drawn_from_0_to_all():
    found = chart("attainment", whole_series())
    assert [text for _, text in found.ticks] == ["25%", "50%", "75%", "100%"]
    assert found.ticks[-1][0] == 0.0


def test_a_line_breaks_where_nobody_measured():
    points = [point(at, rate_rps=3.0) for at in (-100, -95, -90, -30, -25)]
    assert [kind for kind, _, _ in corners(chart("rate", points).lines[0].path)] == ["M", "L", "L", "M", "L"]


def test_what_is_null_is_no_zero():
    points = [point(-10, rate_rps=3.0), point(-5, rate_rps=None), point(0, rate_rps=3.0)]
    heights = {y for _, _, y in corners(chart("rate", points).lines[0].path)}
    assert len(heights) == 1


def test_of_many_points_the_worst_stands_for_its_time():
    points = [point(-3600 + 5 * n, ttft_p50_s=0.5, ttft_p99_s=0.6, slo_attainment=1.0) for n in range(721)]
    points[333] |= {"ttft_p99_s": 7.0, "slo_attainment": 0.2}
    late, met = (chart(name, points).lines[0].path for name in ("ttft", "attainment"))
    assert len(corners(late)) <= MOST_COLUMNS + 1
    assert min(y for _, _, y in corners(late)) < 10
    assert max(y for _, _, y in corners(met)) == pytest.approx(80.0)


def test_the_newest_point_is_at_the_right_edge():
    assert corners(chart("rate", whole_series()).lines[0].path)[-1][1] == 1000.0


@pytest.mark.parametrize(("age_s", "window_s"), [(0, 300), (299, 300), (301, 900), (3000, 3600), (9999, 3600)])
def test_the_window_is_the_shortest_that_holds_all(age_s, window_s):
    assert window_over(age_s) == window_s


def test_times_are_full_minutes_within_the_window():
    assert list(times_of(worlds.NOW, 900.0)) == [
        (0.0, "07:45"),
        (pytest.approx(1 / 3), "07:50"),
        (pytest.approx(2 / 3), "07:55"),
        (1.0, "08:00"),
    ]


def test_who_sees_no_picture_is_told_what_it_shows():
    summary = chart("ttft", whole_series()).summary
    assert summary.startswith("Time to first token over 15 min: now p99 ")
    assert summary.endswith("SLO 2.00 s")


def test_readings_name_the_time_and_every_line():
    last = chart("ttft", whole_series()).readings.split(";")[-1].split("|")
    assert last[:2] == ["100.00", "07:59:55"]
    assert len(last) == 4


def test_without_points_every_chart_is_empty():
    assert all(one.is_empty for one in charts_of(worlds.absent(), []))


def test_a_value_above_a_scale_stays_in_the_picture():
    assert Scale(1.0, 0.25).at(1.4) == 0.0
