"""The package's tables of coefficients: complete, physical, and honest about who was measured."""

from dataclasses import fields

import pytest

from planner.costmodel.coefficients import EAGER, EARLY, GRAPHS, Efficiency, fitted, measured_gpus
from planner.gpus import gpu_types


def test_every_gpu_has_the_efficiencies_of_its_architecture():
    for gpu in gpu_types().values():
        assert gpu.efficiency == fitted().architectures[gpu.architecture]


def test_no_share_is_above_all_there_is():
    for name, found in fitted().architectures.items():
        for field in fields(Efficiency):
            if field.name.endswith("_share"):
                assert 0.3 < getattr(found, field.name) <= 1.0, (name, field.name)


def test_only_gpus_with_measured_rows_are_calibrated():
    calibrated = {name for name, gpu in gpu_types().items() if gpu.calibrated}
    assert calibrated == measured_gpus() == {"A100-SXM4-40GB", "A100-SXM4-80GB", "A40", "H100-SXM5-80GB", "L4"}


@pytest.mark.parametrize(
    ("engine", "known_as"),
    [
        ("vllm-2023", "vllm-2023"),
        ("vllm-0.2.7", EAGER),
        ("vllm-0.4.1", EARLY),
        ("vLLM-v0.5", EARLY),
        ("vllm-0.12.0", GRAPHS),
        ("sglang-0.5", GRAPHS),
        ("trtllm-1.2", GRAPHS),
    ],
)
def test_an_unknown_engine_is_taken_as_its_class(engine, known_as):
    assert fitted().engine(engine).name == known_as
