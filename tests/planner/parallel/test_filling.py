"""How quick the slowest stage can be, against every split."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.parallel.filling import least_slowest_s, least_whole_s

times = st.floats(0.1, 5.0)
limits = st.integers(0, 8)


def least_of_all(layer_s: list[float], most: list[int], layers: int) -> float:
    splits = product(*(range(limit + 1) for limit in most))
    return min((max(map(float.__mul__, map(float, s), layer_s)) for s in splits if sum(s) == layers), default=np.inf)


@given(st.lists(st.tuples(times, limits), min_size=1, max_size=3), st.integers(1, 8))
def test_whole_layers_are_split_as_well_as_can_be(stages, layers):
    layer_s, most = [time for time, _ in stages], [limit for _, limit in stages]
    found = least_whole_s(
        [np.array(one) for one in layer_s], [np.array(float(one)) for one in most], [1] * len(stages), layers
    )
    assert float(found) == pytest.approx(least_of_all(layer_s, most, layers))


@given(st.lists(st.tuples(times, limits), min_size=1, max_size=3), st.integers(1, 8))
def test_parts_of_layers_are_never_slower(stages, layers):
    of = [np.array(time) for time, _ in stages], [np.array(float(limit)) for _, limit in stages], [2] * len(stages)
    assert least_slowest_s(*of, layers) <= least_whole_s(*of, layers) * (1 + 1e-9)


def test_a_full_stage_leaves_the_rest_to_the_others():
    found = least_slowest_s(
        [np.array([1.0, 1.0]), np.array([1.0, 1.0])], [np.array([2.0, 9.0]), np.array(9.0)], [1, 1], 6
    )
    assert found.tolist() == [4.0, 3.0]
    assert least_slowest_s([np.array(1.0)], [np.array(2.0)], [1], 3) == np.inf
