"""Measured rows: what is answered, from which words, and what is said where there is no answer."""

import pytest

from planner.costmodel.measured import predict_ms
from planner.costmodel.rows import NotPredictable

ROW = {
    "source": "helix", "gpu": "A100-SXM4-40GB", "model": "llama-30b", "tp": "1", "pp": "1", "engine": "vllm-0.4.0",
    "phase": "prefill", "kind": "layer", "batch": "4", "prompt_tokens": "750", "context_tokens": "750",
    "note": "scope=full; split=assumed",
}  # fmt: skip
STEP = ROW | {"kind": "step", "note": "scope=model"}
TPOT = ROW | {
    "gpu": "H100-SXM5-80GB", "model": "llama-3.1-8b", "engine": "trtllm-1.0.0rc3", "phase": "decode", "kind": "request",
    "batch": "8", "prompt_tokens": "1024", "context_tokens": "1280",
    "note": "scope=model; metric=tpot; output_tokens=512; load=closed-loop",
}  # fmt: skip


def note(row: dict[str, str], text: str) -> dict[str, str]:
    return row | {"note": text}


def test_a_layer_is_answered_as_helix_measured_it():
    assert predict_ms(ROW) == pytest.approx(14.0, rel=0.12)


def test_a_client_under_closed_loop_load_is_answered_as_was_measured():
    assert predict_ms(TPOT) == pytest.approx(7.42, rel=0.15)
    shorter = note(TPOT, "scope=model; output_tokens=64; load=closed-loop")
    assert predict_ms(shorter) > predict_ms(TPOT), "more of each token's time is other requests' prefills"


def test_the_measured_value_is_not_read():
    assert predict_ms(ROW | {"value_ms": "nonsense"}) == predict_ms(ROW)


def test_the_scope_says_which_parts_count():
    parts = [predict_ms(note(ROW, f"scope={scope}")) for scope in ("elementwise", "gemm", "gemm+attn", "full")]
    assert parts == sorted(parts)
    assert len(set(parts)) == 4


def test_communication_is_left_out_where_it_was_not_measured():
    shard = ROW | {"tp": "4", "gpu": "L4"}
    assert predict_ms(note(shard, "scope=full; comm=no")) < predict_ms(note(shard, "scope=full")) / 2


def test_the_link_sets_what_communication_costs():
    shard = ROW | {"tp": "4"}
    slow, fast = (predict_ms(note(shard, f"scope=full; link={link}")) for link in ("pcie", "nvswitch"))
    assert slow > 3 * fast
    assert predict_ms(note(shard, "scope=full")) == fast, "an SXM card is taken to be on its NVLink board"


def test_the_stages_of_a_pipeline_add_up_whatever_their_layers():
    four = STEP | {"pp": "4"}
    even, uneven, short = (
        predict_ms(note(four, f"scope=model; layers_per_stage={layers}; link=vm-network"))
        for layers in ("15+15+15+15", "30+10+10+10", "4x15")
    )
    assert uneven == pytest.approx(even, rel=0.02)
    assert short == even
    assert predict_ms(note(four, "scope=model; link=vm-network")) == even


def test_hops_between_machines_cost_more_than_hops_inside_one():
    four = STEP | {"pp": "4"}
    assert predict_ms(note(four, "scope=model; link=vm-network")) > predict_ms(note(four, "scope=model")) + 10


def test_words_are_read_as_people_write_them():
    odd = ROW | {
        "model": "huggyllama/llama-30b",
        "phase": " Prefill",
        "kind": "LAYER",
        "note": "scope=Full; link=; load=",
    }
    assert predict_ms(odd) == predict_ms(note(ROW, "scope=full"))
    shard = ROW | {"tp": "4"}
    assert predict_ms(note(shard, "scope=full; link=NVSwitch")) == predict_ms(note(shard, "scope=full; link=nvswitch"))


def test_weights_of_another_dtype_can_be_named_in_two_ways():
    eight = [predict_ms(note(TPOT, TPOT["note"] + f"; {key}=fp8")) for key in ("dtype", "quantization")]
    assert eight[0] == eight[1] < predict_ms(TPOT)


def test_a_prompt_whose_beginning_was_cached_attends_to_all_of_it():
    assert predict_ms(ROW | {"context_tokens": "4000"}) > predict_ms(ROW)


def test_prompts_that_come_together_without_other_load_are_one_prefill():
    together = STEP | {"kind": "request", "batch": "4", "note": "scope=model"}
    assert predict_ms(together) == predict_ms(STEP | {"batch": "4"})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ROW | {"gpu": "GTX970"}, "GTX970"),
        (ROW | {"model": "llama-9"}, "llama-9"),
        (ROW | {"phase": "training"}, "training"),
        (ROW | {"kind": "epoch"}, "epoch"),
        (ROW | {"tp": "3"}, "52 heads"),
        (ROW | {"batch": "0"}, "batch is '0'"),
        (ROW | {"batch": "1.5"}, "1.5"),
        (ROW | {"batch": "nan"}, "nan"),
        (ROW | {"prompt_tokens": "many"}, "many"),
        (note(ROW, "scope=optimizer"), "optimizer"),
        (note(ROW, "scope=model"), "layer of scope model"),
        (note(ROW, "scope=full; link=pigeon"), "pigeon"),
        (STEP | {"pp": "4", "note": "layers_per_stage=15+15"}, "15+15"),
        (STEP | {"pp": "61"}, "60 layers"),
        (STEP | {"pp": "100000000"}, "60 layers"),
        (STEP | {"pp": "1", "note": "layers_per_stage=1x2x30"}, "1x2x30"),
        (note(ROW, "scope=full; kv_cache_dtype=fp8"), "fp8"),
        (STEP | {"pp": "4", "note": "layers_per_stage=many"}, "many"),
        (note(TPOT, "scope=model; load=closed-loop"), "output_tokens"),
        (TPOT | {"phase": "prefill"}, "arrivals bunch"),
    ],
)
def test_a_row_without_an_answer_says_why(row, says):
    with pytest.raises(NotPredictable, match=says.replace("+", r"\+")):
        predict_ms(row)


@pytest.mark.parametrize("column", ["batch", "prompt_tokens", "context_tokens"])
def test_a_count_beyond_all_measure_has_a_reason(column):
    with pytest.raises(NotPredictable, match="expected a whole number from"):
        predict_ms(ROW | {column: "1e300"})
