"""What counts as calibrated: measured cards, and models of the kind that was measured."""

from dataclasses import replace

import pytest

from planner.costmodel.coverage import unmeasured
from planner.gpus import gpu_named
from planner.models import llm_named

A40, A6000 = gpu_named("A40"), gpu_named("A6000")


def test_a_dense_model_on_a_measured_card_is_calibrated():
    assert unmeasured(llm_named("qwen3-8b"), [A40, A40]) == ()


def test_a_card_without_rows_is_named_once_with_whose_efficiencies_it_borrows():
    assert unmeasured(llm_named("qwen3-8b"), [A6000, A40, A6000]) == (
        "A6000 has no measured rows: its efficiencies are borrowed (ga10x)",
    )


def test_a_card_that_was_measured_on_the_machine_counts():
    assert unmeasured(llm_named("qwen3-8b"), [replace(A6000, calibrated=True)]) == ()


@pytest.mark.parametrize(
    ("model", "dtype", "says"),
    [
        ("qwen3-30b-a3b", "", "experts"),
        ("gemma-2-9b", "", "windows"),
        ("qwen3-8b", "fp8", "fp8"),
        ("qwen3-8b", "awq", "awq"),
    ],
)
def test_kinds_of_models_without_rows_are_named(model, dtype, says):
    (reason,) = unmeasured(llm_named(model, dtype), [A40])
    assert model in reason
    assert says in reason
