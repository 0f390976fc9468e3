"""Coefficients of a machine's own engines, fitted to rows: they come back from rows that they made."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import GpuCalibration
from planner.costmodel.calibrate import Fit, Handover, Row, fitted_to, prompt_s
from planner.costmodel.pace import pipeline_pace
from planner.costmodel.transfer import kv_transfer_s
from planner.deployment import Codec
from planner.errors import SpecError
from planner.gpus import gpu_named
from planner.models import llm_named

CPU = gpu_named("CPU")
LLM = replace(llm_named("llama-3.2-1b"), layers=8, hidden=256, intermediate=512, heads=4, kv_heads=2, head_dim=64)
MACHINE = GpuCalibration(
    "CPU", 0.5, 7.0, 1.2, step_s=3e-3, sequence_s=2e-4, prompt_s=6e-3, host_share=0.6, stream_s=2e-4
)
BETWEEN = Handover(handover_ms=25.0, bandwidth_gbit_per_s=0.9, codec_gb_per_s=0.3)
PROMPTS = (32, 128, 512, 1024, 2048, 3800)
STEPS = ((1, 64), (4, 64), (16, 64), (1, 1024), (8, 1024), (2, 3000))
MOVED = (129, 513, 2049)
CORES = 2


def rows_of(machine: GpuCalibration, between: Handover | None = None, *, engines: int = 1) -> list[Row]:
    """What would be measured on a machine that is just so."""
    own = pipeline_pace(LLM, machine.applied(CPU), 1, (LLM.layers,), nvlink=False)
    rows = [Row(prompt_s(own, tokens), prompt_tokens=tokens) for tokens in PROMPTS]
    rows += [Row(float(own.decode_step_s(b, b * c)), batch=b, context_tokens=c) for b, c in STEPS]
    for n in range(2, engines + 1):
        first_s, step_s = prompt_s(own, 1024), float(own.decode_step_s(4, 256))
        sent_s = 4 * machine.stream_s
        rows.append(Row(max(first_s, n * machine.host_share * first_s), prompt_tokens=1024, engines=n))
        slowed_s = max(step_s, n * (machine.host_share * step_s + sent_s))
        cpu_s = CORES * machine.stream_s
        rows.append(Row(slowed_s, batch=4, context_tokens=64, engines=n, sending_cpu_s=cpu_s))
    for codec in (Codec.RAW, Codec.INT4) if between else ():
        for tokens in MOVED:
            added = float(own.decode_step_s(1, tokens)) + float(kv_transfer_s(between.link, tokens, LLM, codec))
            rows.append(Row(added, prompt_tokens=tokens, codec=codec))
    return rows


def fit(rows: list[Row]) -> Fit:
    return fitted_to(rows, LLM, CPU, cores=CORES)


def test_rows_of_a_known_machine_give_its_coefficients_back():
    found = fit(rows_of(MACHINE, BETWEEN, engines=3))
    assert astuple(found.gpu)[1:] == pytest.approx(astuple(MACHINE)[1:], rel=0.02)
    assert astuple(found.handover) == pytest.approx(astuple(BETWEEN), rel=0.02)
    rows = rows_of(MACHINE, BETWEEN, engines=3)
    assert found.predicted_s == pytest.approx([row.seconds for row in rows], rel=0.01)


@settings(max_examples=15)
@given(
    gemm=st.floats(0.2, 2.0), attention=st.floats(0.5, 10.0), step_s=st.floats(1e-3, 2e-2), prompt=st.floats(2e-3, 2e-2)
)
def test_what_any_machine_shows_is_predicted(gemm, attention, step_s, prompt):
    machine = replace(MACHINE, gemm_share=gemm, attention_factor=attention, step_s=step_s, prompt_s=prompt)
    rows = rows_of(machine)
    assert fit(rows).predicted_s == pytest.approx([row.seconds for row in rows], rel=0.03)


def test_noise_of_a_tenth_leaves_a_mean_error_of_less():
    random = np.random.default_rng(5)
    rows = [
        replace(row, seconds=row.seconds * random.lognormal(0, 0.1)) for row in rows_of(MACHINE, BETWEEN, engines=3)
    ]
    found = fit(rows)
    assert np.mean([abs(p / row.seconds - 1) for p, row in zip(found.predicted_s, rows, strict=True)]) < 0.1
    assert found.gpu.gemm_share == pytest.approx(MACHINE.gemm_share, rel=0.15)


def test_without_engines_at_once_a_busy_one_takes_a_core_and_without_transfers_nothing_is_said_of_them():
    found = fitted_to(rows_of(MACHINE), LLM, CPU, cores=4)
    assert found.gpu.host_share == 0.25
    assert found.handover is None


def test_a_machine_that_sends_for_nothing_is_found_to_do_so():
    rows = rows_of(replace(MACHINE, stream_s=0.0), engines=3)
    assert fit(rows).gpu.stream_s == 0.0


def test_what_sending_takes_counts_as_it_is_where_most_engines_are_busy():
    """Beside busy neighbours a process that sends wakes up less often, and finds more to send."""
    counted = [replace(row, sending_cpu_s=row.batch and 3e-3 / row.engines) for row in rows_of(MACHINE, engines=3)]
    assert fit(counted).gpu.stream_s == pytest.approx(1e-3 / CORES)


def test_engines_that_do_not_slow_each_other_down_take_at_most_their_part():
    rows = rows_of(replace(MACHINE, host_share=0.2), engines=3)
    assert fitted_to(rows, LLM, CPU, cores=8).gpu.host_share <= 1 / 3


@pytest.mark.parametrize(
    ("left_out", "what"),
    [
        (lambda row: row.prompt_tokens > 128, "2 prompt lengths"),
        (lambda row: row.batch > 1, "1 batches"),
        (lambda row: row.context_tokens > 64, "1 contexts"),
    ],
)
def test_too_few_rows_are_refused(left_out, what):
    with pytest.raises(SpecError, match=f"has {what}; expected"):
        fit([row for row in rows_of(MACHINE) if not left_out(row)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.0, "batch": 1},
        {"seconds": float("nan"), "batch": 1},
        {"seconds": 1.0},
        {"seconds": 1.0, "batch": 1, "engines": 0},
        {"seconds": 1.0, "prompt_tokens": -5},
        {"seconds": 1.0, "batch": 1, "sending_cpu_s": -1e-3},
    ],
)
def test_a_row_that_says_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="A row has"):
        Row(**wrong)


def test_a_measured_type_is_calibrated_and_says_what_was_measured():
    measured = MACHINE.applied(CPU)
    assert measured.calibrated
    assert not CPU.calibrated
    assert GpuCalibration.of(measured) == MACHINE
    assert GpuCalibration.of(CPU) is None
    with pytest.raises(ValueError, match="gemm_share 0"):
        replace(MACHINE, gemm_share=0.0)
