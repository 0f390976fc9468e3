import pytest

from planner.costmodel.transfer import wire_ratio
from planner.demand import demand_of
from planner.deployment import Codec
from planner.gpus import gpu_named
from planner.links import INSIDE
from planner.models import llm_named
from planner.parallel.layouts import Capacities, GpuKind, Share, Task, layouts
from planner.procurement.groups import options
from planner.traces import workload_named
from planner.workload import Slo


def task_of(model: str, slo: Slo | None = None, longest: int = 2048) -> Task:
    return Task(llm_named(model), demand_of(workload_named("conversation"), longest), slo or Slo(), longest)


def degrees(model: str, gpu: str, gpus: int) -> set[tuple[int, int]]:
    kind = GpuKind(gpu_named(gpu), gpu_named(gpu).memory_gib, nvlink=False)
    return {(layout.tp, layout.pp) for layout in layouts(task_of(model), (Share(kind, gpus),))}


@pytest.mark.parametrize(
    ("model", "gpu", "gpus", "found"),
    [
        ("qwen3-8b", "A40", 4, {(1, 4), (2, 2), (4, 1)}),
        ("qwen3-8b", "A40", 3, {(1, 3)}),
        ("llama-30b", "H100-SXM5-80GB", 8, {(1, 8), (2, 4), (4, 2)}),
        ("qwen2.5-7b", "A40", 8, {(1, 8), (2, 4), (4, 2)}),
        ("qwen3-32b", "A40", 1, set()),
    ],
)
def test_layouts_divide_the_heads_and_fit_the_memory(model, gpu, gpus, found):
    """52 heads and 28 heads do not split over 8 GPUs; 61 GiB of weights do not fit one A40."""
    assert degrees(model, gpu, gpus) == found


def test_a_bfloat16_model_needs_cards_that_have_it():
    assert degrees("qwen3-8b", "V100-SXM2-32GB", 2) == set()
    assert degrees("gpt-oss-20b", "V100-SXM2-32GB", 2) == set()


def test_a_model_with_windows_is_not_split_over_replicas():
    """Its KV cannot be moved: no replica hands prompts on, and none lives on prompts handed to it."""
    capacities = Capacities(task_of("gpt-oss-20b"))
    (layout,) = capacities.layouts((Share(GpuKind(gpu_named("A40"), gpu_named("A40").memory_gib, nvlink=False), 1),))
    assert capacities.prefill_rps(layout) == capacities.decode_rps(layout) == 0
    assert capacities.mixed_rps(layout) > 0
    assert degrees("llama-2-7b", "V100-SXM2-32GB", 2) != set()


def test_prefill_avoids_tensor_parallelism_over_pcie_and_decode_seeks_it():
    """The phase asymmetry: of 4 A6000 prefill wants a pipeline, decode wants tensor parallelism in pairs."""
    task = task_of("llama-30b", Slo(ttft_s=4.0, tpot_s=0.1))
    capacities = Capacities(task)
    kind = GpuKind(gpu_named("A6000"), 47.4, nvlink=False)
    prefill = max(capacities.layouts((Share(kind, 4),)), key=capacities.prefill_rps)
    decode = max(capacities.layouts((Share(kind, 4),)), key=capacities.decode_rps)
    assert (prefill.tp, prefill.pp) == (1, 4)
    assert decode.tp > 1


def test_groups_that_smaller_ones_make_up_for_are_left_out(offer):
    found = options(Capacities(task_of("qwen3-8b")), [offer("o", "H100-SXM5-80GB", gpu_count=8, nvlink=True)])
    sizes = [group.layout.gpus for group in found.mixed]
    assert sizes[0] == 1
    for group in found.mixed[1:]:
        assert group.rps > group.layout.gpus * found.mixed[0].rps


def test_rates_are_worked_out_once():
    capacities = Capacities(task_of("qwen3-8b"))
    kind = GpuKind(gpu_named("A40"), 44.9, nvlink=False)
    (layout,) = capacities.layouts((Share(kind, 1),))
    assert capacities.prefill_rps(layout) == capacities.prefill_rps(layout, INSIDE, Codec.RAW)
    assert capacities.layouts((Share(kind, 1),)) is capacities.layouts((Share(kind, 1),))
    assert wire_ratio(llm_named("qwen3-8b"), Codec.RAW) == 1.0
