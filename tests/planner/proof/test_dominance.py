"""Groups that a program can do without."""

from itertools import combinations_with_replacement

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.proof.dominance import undominated

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)).filter(
        lambda row: row[0] + row[1]
    ),
    min_size=1,
    max_size=7,
)


def kept(*rows: tuple[float, ...]) -> list[bool]:
    """(GPUs of either pool, requests/s) each."""
    table = np.array(rows, dtype=float)
    return undominated(table[:, :2], table[:, 2:]).tolist()


def most(table: np.ndarray, limit: tuple[int, int]) -> float:
    """The most of the lesser of two figures that groups within so many GPUs of both pools have together."""
    best = 0.0
    for count in range(sum(limit) + 1):
        for chosen in combinations_with_replacement(range(len(table)), count):
            total = table[list(chosen)].sum(axis=0)
            if (total[:2] <= limit).all():
                best = max(best, min(total[2:]) if count else 0.0)
    return best


def test_two_smaller_groups_that_are_worth_as_much_will_do():
    assert kept((1, 0, 2), (0, 1, 1), (1, 1, 3)) == [True, True, False]
    assert kept((1, 0, 2), (0, 1, 1), (1, 1, 3.5)) == [True, True, True]


def test_of_groups_alike_one_is_kept():
    assert kept((2, 0, 1), (2, 0, 1)) == [True, False]


def test_a_group_must_be_worth_as_much_in_every_figure():
    assert kept((1, 0, 2, 0), (2, 0, 1, 1)) == [True, True]


def test_a_group_that_does_nothing_is_not_kept():
    assert kept((1, 0, 0)) == [False]


@given(ROWS)
@settings(max_examples=60)
def test_nothing_is_lost_without_the_others(rows):
    table = np.array(rows, dtype=float)
    left = table[undominated(table[:, :2], table[:, 2:])]
    assert most(left, (3, 2)) == most(table, (3, 2))
