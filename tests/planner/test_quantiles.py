import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.quantiles import BANDS, JointQuantiles, joint_quantiles

SIZE = BANDS * BANDS


def test_quantiles_of_as_many_requests_are_the_requests_themselves():
    random = np.random.default_rng(1)
    prompt, output = random.permutation(SIZE) + 1, random.permutation(SIZE) + 1
    table = joint_quantiles(prompt, output)
    assert sorted(table.output.ravel()) == sorted(output)
    assert sorted(table.prompt.ravel()) == sorted(prompt)


def test_a_band_has_the_prompts_of_the_requests_with_its_outputs():
    output = np.arange(SIZE) + 1
    table = joint_quantiles(output * 10, output)
    assert (table.prompt == table.output * 10).all()
    assert (np.diff(table.output.ravel()) > 0).all()


def test_within_a_band_prompts_and_outputs_are_independent():
    output = np.arange(SIZE) + 1
    pairs = np.array(joint_quantiles(output, output).pairs())
    within = pairs.reshape(BANDS, BANDS, 2) - pairs.reshape(BANDS, BANDS, 2).mean(axis=1, keepdims=True)
    assert abs(np.corrcoef(within[0].T)[0, 1]) < 0.1
    assert np.corrcoef(pairs.T)[0, 1] > 0.99


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 2000)), min_size=BANDS, max_size=400))
def test_the_table_holds_only_what_was_seen_and_pairs_use_every_entry_once(seen):
    prompt, output = np.array(seen, dtype=np.int64).T
    table = joint_quantiles(prompt, output)
    assert set(table.prompt.ravel().tolist()) <= set(prompt.tolist())
    assert set(table.output.ravel().tolist()) <= set(output.tolist())
    found = np.array(table.pairs()).T
    assert sorted(found[0]) == sorted(table.prompt.ravel())
    assert sorted(found[1]) == sorted(table.output.ravel())


def test_too_few_requests_make_no_table():
    few = np.arange(BANDS - 1) + 1
    with pytest.raises(ValueError, match="expected 32 requests or more"):
        joint_quantiles(few, few)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"prompt quantiles are \(0,\)"):
        JointQuantiles(np.array([], dtype=np.int64), np.ones((BANDS, BANDS), dtype=np.int64))
