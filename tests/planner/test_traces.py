import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import SpecError
from planner.traces import PRESETS, stratified, trace_from_csv, workload_named

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:05.9799600,3,8\r\n"
)
PUBLISHED = {
    "coding": ((2047.8, 1469, 5186, 7436), (27.9, 13, 55, 249)),
    "conversation": ((1154.7, 1020, 2734, 4142), (211.1, 129, 424, 601)),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_keep_the_published_statistics(preset):
    lengths = np.array(workload_named(preset).lengths)
    for column, expected in zip(lengths.T, PUBLISHED[preset], strict=True):
        found = (column.mean(), *np.percentile(column, (50, 90, 99)))
        assert found == pytest.approx(expected, rel=0.03)


def test_a_preset_has_no_rate_until_one_is_given():
    assert workload_named("coding").rate_rps is None
    assert workload_named("coding").at(3.0).rate_rps == 3.0


def test_an_unknown_workload_is_an_error():
    with pytest.raises(SpecError, match="'chat' is not known; expected coding or conversation"):
        workload_named("chat")


@pytest.mark.parametrize(
    "text",
    [
        AZURE,
        "arrived_at,num_prefill_tokens,num_decode_tokens\n1.5,4808,10\n3.5,3,8\n",
        "arrival_s,prompt_tokens,output_tokens\n7,4808,10\n9,3,8\n",
        "output_tokens, prompt_tokens ,arrival_s\n8,3,9\n10,4808,7\n",
    ],
)
def test_all_styles_say_the_same(text):
    trace = trace_from_csv(text, "t")
    assert trace.arrival_s == pytest.approx([0.0, 2.0])
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([4808, 3], [10, 8])
    assert trace.rate_rps == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,5,5", "t.csv, line 3: arrival_s is 'x'; expected a time"),
        ("2,0,5", "t.csv, line 3: prompt_tokens is '0'; expected a whole number above 0"),
        ("2,5,many", "line 3: output_tokens is 'many'"),
        ("2,5", "line 3: output_tokens is ''"),
    ],
)
def test_a_bad_row_is_named_by_its_line(row, message):
    with pytest.raises(SpecError, match=message):
        trace_from_csv(f"arrival_s,prompt_tokens,output_tokens\n1,5,5\n{row}\n", "t.csv")


def test_unknown_columns_and_empty_traces_are_errors():
    with pytest.raises(SpecError, match="has columns a,b; expected TIMESTAMP,ContextTokens,GeneratedTokens or"):
        trace_from_csv("a,b\n1,2\n", "t")
    with pytest.raises(SpecError, match="has no requests"):
        trace_from_csv("arrival_s,prompt_tokens,output_tokens\n", "t")


def test_a_trace_becomes_a_workload_of_bounded_size():
    rows = "".join(f"{i},{1 + i % 97},{1 + i % 13}\n" for i in range(3000))
    workload = trace_from_csv("arrival_s,prompt_tokens,output_tokens\n" + rows, "t").workload(sample=400)
    assert len(workload.lengths) == 400
    assert workload.rate_rps == pytest.approx(1.0)
    assert workload.prompt_tokens_mean == pytest.approx(49, rel=0.05)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 2000)), min_size=1, max_size=300), st.integers(4, 100))
def test_a_sample_is_taken_from_the_requests_and_is_never_larger(pairs, size):
    sample = stratified(pairs, size)
    assert set(sample) <= set(pairs)
    assert 0 < len(sample) <= max(size, 1)
    assert len(pairs) > size or list(sample) == pairs
