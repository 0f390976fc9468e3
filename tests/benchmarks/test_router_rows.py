"""The verdicts of the router's table: what ours is held against, from above or from below."""

import pytest

from benchmarks.router_rows import AGENTS, DEFAULT, KILLS, OURS, ROUND_ROBIN, Row, lines, own_lines

SLOW = Row("latency, ms", ("a", "b"), times=1.5, beats_default=True)
MANY = Row("requests/s", ("a", "b"), times=0.5, beats_default=True, higher_is_better=True)


def verdict(row: Row, default: float, peer: float, *ours: float) -> str:
    runs = {DEFAULT: [default], ROUND_ROBIN: [peer], OURS: ours}
    table = {name: [{"a": {"b": value}, "bad": value} for value in values] for name, values in runs.items()}
    return list(lines([row], table))[-1].split("|")[-2].strip(" *")


@pytest.mark.parametrize(
    ("row", "default", "peer", "ours", "expected"),
    [
        (SLOW, 10.0, 2.0, (3.0,), "met"),
        (SLOW, 10.0, 2.0, (3.1,), "missed"),
        (SLOW, 2.5, 2.0, (3.0,), "missed"),
        (SLOW, 10.0, 2.0, (9.0, 3.0, 1.0), "met"),  # the median
        (MANY, 10.0, 100.0, (50.0,), "met"),
        (MANY, 10.0, 100.0, (49.0,), "missed"),
        (MANY, 60.0, 100.0, (50.0,), "missed"),
        (KILLS[0], 300.0, 100.0, (0.0,), "met"),
        (KILLS[0], 300.0, 100.0, (1.0,), "missed"),
        (Row("for information", ("a", "b")), 1.0, 1.0, (9.0,), ""),
    ],
)
def test_each_bound_has_to_hold(row, default, peer, ours, expected):
    assert verdict(row, default, peer, *ours) == expected


def test_what_is_measured_of_ours_alone_is_held_against_itself_only():
    *_, row = own_lines([SLOW], [{"a": {"b": 3.0}}])
    assert row == "| latency, ms | 3 |  |  |"
    verdicts = [list(own_lines(KILLS, [{"bad": bad}]))[-1].split("|")[-2].strip() for bad in (0, 2)]
    assert verdicts == ["**met**", "**missed**"]
    assert not any(row.times or row.beats_default for row in AGENTS)
