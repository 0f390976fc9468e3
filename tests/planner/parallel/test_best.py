"""The best layout of a group, against every layout that it could have."""

from dataclasses import replace
from itertools import combinations, pairwise, permutations

import pytest

from planner.catalog import Link
from planner.demand import demand_of
from planner.deployment import Phase
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.degrees import degrees
from planner.parallel.layouts import Capacities, GpuKind, GroupShape, Share, Slot, Task
from planner.parallel.shapes import layout_of
from planner.traces import workload_named
from planner.workload import Slo

LAN = Link(40.0, 0.5)
SLO = Slo(ttft_s=3.0, tpot_s=0.1)
SMALL = replace(llm_named("llama-30b"), layers=10)
"""A sixth of LLaMA-30B: 11 GB."""


def kind(name: str, memory_gib: float, *, nvlink: bool = False) -> GpuKind:
    return GpuKind(gpu_named(name), memory_gib, nvlink)


A40, A5000, TI, L4 = kind("A40", 44.9), kind("A5000", 23.6), kind("RTX3090Ti", 23.6), kind("L4", 22.0)
H100 = kind("H100-SXM5-80GB", 79.6, nvlink=True)
SHAPES = {
    "two alike": (Share(L4, 2),),
    "four alike": (Share(A5000, 4),),
    "two unlike": (Share(A40, 1), Share(L4, 1)),
    "two and two": (Share(A5000, 2), Share(TI, 2)),
    "three unlike": (Share(A40, 1), Share(L4, 1), Share(TI, 1)),
}


def task_of(llm: str = "llama-30b", slo: Slo = SLO, longest: int = 4096) -> Task:
    spec = SMALL if llm == "small" else llm_named(llm)
    return Task(spec, demand_of(workload_named("conversation"), longest), slo, longest)


def most_of_all(capacities: Capacities, shape: GroupShape, phase: Phase) -> float:
    """Over every TP, order of instances and split."""
    llm, longest = capacities.task.llm, capacities.task.max_model_len
    rates = [0.0]
    for tp, stages in degrees(llm, shape[0].gpus, len(shape)):
        for order in permutations(range(len(shape))):
            for cuts in combinations(range(1, llm.layers), stages - 1):
                layers = [b - a for a, b in pairwise((0, *cuts, llm.layers))]
                places = [place for place in order for _ in range(stages // len(shape))]
                slots = tuple(Slot(shape[p].kind, p, n) for p, n in zip(places, layers, strict=True))
                layout = layout_of(llm, tp, slots, LAN)
                rates += [capacities.rps(layout, phase)] if layout.kv_tokens >= longest else []
    return max(rates)


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
@pytest.mark.parametrize("name", SHAPES)
def test_it_is_within_a_hundredth_of_the_best_of_all(name, phase):
    capacities = Capacities(task_of("small"))
    found = capacities.best(SHAPES[name], phase, LAN)
    assert found is not None
    assert 0.99 * most_of_all(capacities, SHAPES[name], phase) <= found[1]
    assert found[1] == capacities.rps(found[0], phase)


@pytest.mark.parametrize("name", ["two alike", "two unlike", "two and two"])
def test_a_mixed_one_as_well_though_a_sketch_of_the_demand_tells_them_apart(name):
    capacities = Capacities(task_of("small"))
    found = capacities.best(SHAPES[name], Phase.MIXED, LAN)
    assert found is not None
    assert 0.98 * most_of_all(capacities, SHAPES[name], Phase.MIXED) <= found[1]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", SHAPES)
def test_a_layout_uses_all_gpus_holds_all_layers_and_has_room_for_the_longest_request(name, phase):
    task, shape = task_of("small"), SHAPES[name]
    layout, rps = Capacities(task).best(shape, phase, LAN) or pytest.fail("nothing found")
    assert rps > 0
    assert layout.gpus == sum(share.gpus for share in shape)
    assert sum(slot.layers for slot in layout.slots) == task.llm.layers
    assert layout.kv_tokens >= task.max_model_len
    for place, share in enumerate(shape):
        stages = [slot for slot in layout.slots if slot.place == place]
        assert {slot.kind for slot in stages} == {share.kind}
        assert len(stages) * layout.tp == share.gpus


def test_for_decode_the_larger_card_takes_more_layers_than_the_faster_one():
    """Of an A40 and a 3090 Ti the latter reads half as fast again, but has room for little KV beside its weights."""
    layout, _ = Capacities(task_of()).best((Share(A40, 2), Share(TI, 2)), Phase.DECODE, LAN) or pytest.fail("none")
    layers = {slot.kind.gpu.name: slot.layers for slot in layout.slots}
    assert layers["A40"] > 1.2 * layers["RTX3090Ti"]


def test_uneven_layers_serve_more_than_even_ones_on_unlike_gpus():
    capacities, shape = Capacities(task_of()), (Share(A40, 4), Share(A5000, 4))
    for phase in (Phase.PREFILL, Phase.DECODE):
        layout, rps = capacities.best(shape, phase, LAN) or pytest.fail("nothing found")
        even = layout_of(
            capacities.task.llm, layout.tp, tuple(replace(s, layers=60 // layout.pp) for s in layout.slots), LAN
        )
        assert rps > 1.02 * capacities.rps(even, phase)


def test_a_layer_is_taken_from_the_stage_that_also_holds_a_large_output_head():
    """152,064 tokens of vocabulary weigh as much as two and a half layers of this model."""
    capacities = Capacities(task_of("qwen2.5-14b"))
    layouts = [layout for layout in capacities.layouts((Share(L4, 4),)) if layout.tp == 2]
    best = max(layouts, key=capacities.decode_rps)
    assert [slot.layers for slot in best.slots] == [25, 23]


def test_a_group_spans_instances_only_with_as_many_gpus_on_each():
    capacities = Capacities(task_of("small"))
    assert capacities.best((Share(A40, 2), Share(A40, 1)), Phase.DECODE, LAN) is None
    assert capacities.layouts((Share(A40, 2), Share(A40, 1)), LAN) == ()


def test_a_slower_network_serves_less():
    capacities, shape = Capacities(task_of()), (Share(A40, 2), Share(A40, 2))
    rates = [
        (capacities.best(shape, Phase.PREFILL, Link(gbit, ms)) or pytest.fail("nothing found"))[1]
        for gbit, ms in ((40.0, 0.5), (2.0, 0.5), (1.0, 5.0))
    ]
    assert rates[0] > rates[1] > rates[2]


def test_instances_lie_in_the_order_of_their_links():
    """The first and the second are near to the third only."""
    near, far = Link(40.0, 0.5), Link(0.5, 50.0)
    links = ((near, far, near), (far, near, near), (near, near, near))
    shape = (Share(A40, 1),) * 3
    layout, _ = Capacities(task_of()).best(shape, Phase.PREFILL, links) or pytest.fail("nothing found")
    assert [slot.place for slot in layout.slots] == [0, 2, 1]


def test_what_fits_nowhere_or_serves_nothing_has_no_best():
    assert Capacities(task_of()).best((Share(L4, 1),), Phase.DECODE) is None
    assert Capacities(task_of(slo=Slo(ttft_s=0.01))).best((Share(H100, 1),), Phase.PREFILL) is None
    assert Capacities(task_of("gpt-oss-20b")).best((Share(H100, 1),), Phase.DECODE) is None


def test_the_best_is_worked_out_once_and_no_network_lies_inside_an_instance():
    capacities = Capacities(task_of("small"))
    assert capacities.best((Share(A40, 1),), Phase.MIXED) is capacities.best((Share(A40, 1),), Phase.MIXED, LAN)
