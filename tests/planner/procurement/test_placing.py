"""Layouts on the GPUs of instances."""

from planner.catalog import Link
from planner.deployment import Phase, Stage
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.layouts import GpuKind, Layout, Slot
from planner.parallel.shapes import layout_of
from planner.procurement.placing import replica_of

A40, A5000 = (GpuKind(gpu_named(name), memory, nvlink=False) for name, memory in (("A40", 44.9), ("A5000", 23.6)))


def layout(*slots: tuple[GpuKind, int, int]) -> Layout:
    return layout_of(llm_named("qwen3-8b"), 2, tuple(Slot(*slot) for slot in slots), Link(40.0, 0.5))


def test_on_one_instance_stages_take_consecutive_gpus():
    replica = replica_of("r0", Phase.DECODE, ["i0"], [4], layout((A40, 0, 20), (A40, 0, 16)))
    assert replica.stages == (Stage("i0", (4, 5), 20), Stage("i0", (6, 7), 16))
    assert (replica.id, replica.phase, replica.tp, replica.pp) == ("r0", Phase.DECODE, 2, 2)


def test_over_several_each_stage_takes_the_next_gpus_of_its_own_instance():
    """The pipeline begins on the second instance of the group."""
    spanning = layout((A5000, 1, 6), (A5000, 1, 6), (A40, 0, 12), (A40, 0, 12))
    replica = replica_of("r0", Phase.MIXED, ["i3", "i7"], [0, 2], spanning)
    assert replica.stages == (
        *(Stage("i7", (2, 3), 6), Stage("i7", (4, 5), 6)),
        *(Stage("i3", (0, 1), 12), Stage("i3", (2, 3), 12)),
    )
    assert replica.instances == ("i7", "i3")
