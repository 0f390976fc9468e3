import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import SpecError
from planner.traces import stratified, trace_from_csv, workload_named

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:05.9799600,3,8\r\n"
)


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
        ("nan,5,5", "line 3: arrival_s is 'nan'; expected a time"),
        ("inf,5,5", "line 3: arrival_s is 'inf'; expected a time"),
        ("-1,5,5", "line 3: arrival_s is '-1'; expected a time"),
        (",5,5", "line 3: arrival_s is ''; expected a time"),
        ("2,-5,5", "line 3: prompt_tokens is '-5'; expected a whole number above 0"),
        ("2,5.5,5", "line 3: prompt_tokens is '5.5'; expected a whole number above 0"),
        ("2,5,nan", "line 3: output_tokens is 'nan'"),
        ("2,5,1_000", "line 3: output_tokens is '1_000'"),
        ("2,5,99999999999999999999", "line 3: output_tokens is '9"),
        ("2,5,5,5", "line 3: more values than columns; expected 3"),
        ('2,5,"' + "9" * 200_000 + '"', "not CSV: field larger than field limit"),
    ],
)
def test_a_bad_row_is_named_by_its_line(row, message):
    with pytest.raises(SpecError, match=message):
        trace_from_csv(f"arrival_s,prompt_tokens,output_tokens\n1,5,5\n{row}\n", "t.csv")


@pytest.mark.parametrize("when", ["yesterday", "2023-13-01 00:00:00", "0001-01-01 00:00:00+14:00", ""])
def test_a_bad_time_stamp_is_named_by_its_line(when):
    with pytest.raises(SpecError, match=r"line 2: TIMESTAMP is '.*'; expected a time"):
        trace_from_csv(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{when},5,5\n", "t")


def test_time_stamps_may_name_their_zone():
    rows = "2024-05-10 01:00:00.009930+01:00,5,5\n2024-05-10 00:00:02.5Z,6,6\n2024-05-10T00:00:03.000000,7,7\n"
    trace = trace_from_csv("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows, "t")
    assert trace.arrival_s == pytest.approx([0.0, 2.49007, 2.99007], abs=1e-5)


def test_requests_come_in_order_of_arrival_whatever_the_rows_order():
    trace = trace_from_csv("arrival_s,prompt_tokens,output_tokens\n9,1,1\n5,2,2\n7,3,3\n5,4,4\n", "t")
    assert trace.arrival_s.tolist() == [0.0, 0.0, 2.0, 4.0]
    assert trace.prompt_tokens.tolist() == [2, 4, 3, 1]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_endings_and_a_byte_order_mark_make_no_difference(ending, mark):
    lines = ("arrival_s,prompt_tokens,output_tokens", "1,5,6", "", "2,7,8")
    trace = trace_from_csv(mark + ending.join(lines), "t")
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([5, 7], [6, 8])


def test_a_bad_row_after_windows_line_endings_and_blank_lines_still_has_its_own_number():
    with pytest.raises(SpecError, match="line 4: prompt_tokens is 'x'"):
        trace_from_csv("arrival_s,prompt_tokens,output_tokens\r\n1,5,6\r\n\r\n2,x,8\r\n", "t")


def test_unknown_columns_and_empty_traces_are_errors():
    with pytest.raises(SpecError, match="has columns a,b; expected TIMESTAMP,ContextTokens,GeneratedTokens or"):
        trace_from_csv("a,b\n1,2\n", "t")
    with pytest.raises(SpecError, match="has columns none; expected"):
        trace_from_csv("", "t")
    with pytest.raises(SpecError, match="has no requests"):
        trace_from_csv("arrival_s,prompt_tokens,output_tokens\n", "t")


def test_a_trace_becomes_a_workload_of_bounded_size():
    rows = "".join(f"{i},{1 + i % 97},{1 + i % 13}\n" for i in range(3000))
    workload = trace_from_csv("arrival_s,prompt_tokens,output_tokens\n" + rows, "t").workload(sample=400)
    assert len(workload.lengths) == 400
    assert workload.rate_rps == pytest.approx(1.0)
    assert workload.prompt_tokens_mean == pytest.approx(49, rel=0.05)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 2000)), min_size=1, max_size=300), st.integers(4, 100))
def test_a_sample_is_taken_from_the_requests_and_is_never_larger(pairs, size):
    sample = stratified(pairs, size)
    assert set(sample) <= set(pairs)
    assert 0 < len(sample) <= max(size, 1)
    assert len(pairs) > size or list(sample) == pairs
