import pytest

from planner.catalog import GpuCalibration
from planner.errors import SpecError
from planner.gpus import gpu_named, gpu_of, gpu_types


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("RTX 4090", "RTX4090"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"),
        ("RTX A6000", "A6000"),
        ("rtx 3090 ti", "RTX3090Ti"),
        ("H100 SXM", "H100-SXM5-80GB"),
        ("H200", "H200-SXM-141GB"),
        ("Tesla V100", "V100-SXM2-16GB"),
        ("RTX PRO 6000 S", "RTXPRO6000-SE"),
        ("cpu", "CPU"),
    ],
)
def test_a_card_is_found_under_its_usual_spellings(spelling, name):
    assert gpu_named(spelling).name == name


@pytest.mark.parametrize(
    ("memory_gib", "name"), [(0, "A100-SXM4-40GB"), (40, "A100-SXM4-40GB"), (80, "A100-SXM4-80GB")]
)
def test_the_memory_decides_where_the_name_does_not(memory_gib, name):
    assert gpu_named("A100_SXM4", memory_gib).name == name


# What nvidia-smi calls each type, and its memory in MiB as it says it.
NVIDIA_SMI = {
    "T4": ("Tesla T4", 15360),
    "V100-SXM2-16GB": ("Tesla V100-SXM2-16GB", 16384),
    "V100-SXM2-32GB": ("Tesla V100-SXM2-32GB", 32768),
    "V100-PCIE-16GB": ("Tesla V100-PCIE-16GB", 16384),
    "A10": ("NVIDIA A10", 23028),
    "A10G": ("NVIDIA A10G", 23028),
    "A30": ("NVIDIA A30", 24576),
    "A40": ("NVIDIA A40", 46068),
    "A4000": ("NVIDIA RTX A4000", 16376),
    "A4500": ("NVIDIA RTX A4500", 20470),
    "A5000": ("NVIDIA RTX A5000", 24564),
    "A6000": ("NVIDIA RTX A6000", 49140),
    "RTX3090": ("NVIDIA GeForce RTX 3090", 24576),
    "RTX3090Ti": ("NVIDIA GeForce RTX 3090 Ti", 24564),
    "RTX4080": ("NVIDIA GeForce RTX 4080", 16376),
    "RTX4090": ("NVIDIA GeForce RTX 4090", 24564),
    "RTX5090": ("NVIDIA GeForce RTX 5090", 32607),
    "RTX6000Ada": ("NVIDIA RTX 6000 Ada Generation", 49140),
    "RTXPRO6000": ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887),
    "RTXPRO6000-SE": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887),
    "L4": ("NVIDIA L4", 23034),
    "L40": ("NVIDIA L40", 46068),
    "L40S": ("NVIDIA L40S", 46068),
    "A100-PCIE-40GB": ("NVIDIA A100-PCIE-40GB", 40960),
    "A100-PCIE-80GB": ("NVIDIA A100 80GB PCIe", 81920),
    "A100-SXM4-40GB": ("NVIDIA A100-SXM4-40GB", 40960),
    "A100-SXM4-80GB": ("NVIDIA A100-SXM4-80GB", 81920),
    "H100-PCIE-80GB": ("NVIDIA H100 PCIe", 81559),
    "H100-NVL-94GB": ("NVIDIA H100 NVL", 95830),
    "H100-SXM5-80GB": ("NVIDIA H100 80GB HBM3", 81559),
    "H200-SXM-141GB": ("NVIDIA H200", 143771),
    "H200-NVL-141GB": ("NVIDIA H200 NVL", 143771),
    "GH200-96GB": ("NVIDIA GH200 480GB", 97871),
    "B200-SXM-180GB": ("NVIDIA B200", 183359),
    "B300-SXM": ("NVIDIA B300 SXM6 AC", 275040),
}


@pytest.mark.parametrize("name", [name for name in gpu_types() if name != "CPU"])
def test_every_type_is_found_by_what_its_driver_calls_it(name):
    """Else a machine that is what was offered would be taken for one that lies, and released."""
    called, memory_mib = NVIDIA_SMI[name]
    assert gpu_named(called, memory_mib / 1024).name == name


def test_an_unknown_card_is_an_error_with_near_matches():
    with pytest.raises(SpecError, match=r"'RTX 4091' is not known; expected one such as .*RTX4090"):
        gpu_named("RTX 4091")


def test_all_peaks_are_of_one_basis():
    """Dense tensor FP16 with FP32 accumulation: not the non-tensor rate, nor GeForce's FP16-accumulate one."""
    rates = {name: gpu.fp16_tflops for name, gpu in gpu_types().items()}
    assert (rates["A6000"], rates["A40"], rates["RTX3090"], rates["RTX4090"]) == (154.8, 149.7, 71, 165.2)
    assert (rates["A100-SXM4-80GB"], rates["H100-SXM5-80GB"], rates["A10G"], rates["L40S"]) == (312, 989, 70, 362)


def test_usable_memory_is_below_the_printed_size():
    printed = {"T4": 16, "A40": 48, "A10G": 24, "L4": 24, "L40S": 48, "A100-SXM4-80GB": 80, "H200-SXM-141GB": 141}
    for name, size in printed.items():
        assert 0.9 * size < gpu_named(name).memory_gib < size


def test_only_cards_before_ampere_lack_bf16():
    assert {name.split("-")[0] for name, gpu in gpu_types().items() if not gpu.bf16} == {"T4", "V100"}


def test_a_type_that_was_measured_on_the_machine_takes_the_place_of_ours():
    measured = GpuCalibration("CPU", 0.5, 7.0, 1.2, 3e-3, 2e-4, 6e-3, 0.6)
    found = gpu_of("cpu", (measured,))
    assert found.calibrated
    assert (found.memory_gib, found.efficiency.gemm_share) == (gpu_named("CPU").memory_gib, 0.5)
    assert gpu_of("A40", (measured,)) == gpu_named("A40")
