"""What no layout exceeds, against layouts with any layers in any stage."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.catalog import Link
from planner.demand import demand_of
from planner.deployment import Phase
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.additive import most_per_gpu
from planner.parallel.capacity import decode_rps, mixed_rps, prefill_rps
from planner.parallel.layouts import Capacities, GpuKind, Layout, Share, Slot, Task
from planner.parallel.relaxed import INTERPOLATED, Relaxed, relaxed_kv_tokens, relaxed_pace
from planner.parallel.shapes import layout_of
from planner.traces import workload_named
from planner.workload import Slo

LLM = llm_named("qwen3-32b")
KINDS = [GpuKind(gpu_named(name), gpu_named(name).memory_gib, False) for name in ("A40", "A5000", "H100 SXM", "L4")]
TASK = Task(LLM, demand_of(workload_named("conversation"), 4096), Slo(4.0, 0.15, 0.9), 4096)
NETWORK = Link(10.0, 0.5)


@st.composite
def any_layout(draw: st.DrawFn) -> tuple[list[tuple[GpuKind, int]], Layout]:
    """Stages of one to three kinds in any order, with any layers: and the stages of each kind, counted."""
    tp = draw(st.sampled_from((1, 2, 4)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True))
    stages = draw(st.permutations([kind for kind in kinds for _ in range(draw(st.integers(1, 2)))]))
    cuts = sorted(
        draw(st.lists(st.integers(1, LLM.layers - 1), min_size=len(stages) - 1, max_size=len(stages) - 1, unique=True))
    )
    layers = np.diff([0, *cuts, LLM.layers]).tolist()
    slots = tuple(Slot(kind, 0, count) for kind, count in zip(stages, layers, strict=True))
    return [(kind, stages.count(kind)) for kind in kinds], layout_of(LLM, tp, slots, NETWORK)


@given(any_layout(), st.floats(0, 200), st.floats(0, 3000), st.floats(0, 4000))
def test_no_layout_is_faster_or_has_more_room_than_the_relaxed_one(made, batch, context, tokens):
    kinds, layout = made
    assume(layout.kv_tokens > 0)
    relaxed = relaxed_pace(LLM, kinds, layout.tp)
    load = batch, batch * context, tokens, tokens * tokens
    assert relaxed.turn_s(*load) <= layout.pace.turn_s(*load) * (1 + 1e-9)
    assert relaxed_kv_tokens(LLM, kinds, layout.tp) >= layout.kv_tokens


@given(any_layout())
@settings(max_examples=40)
def test_no_layout_serves_more_than_the_relaxed_one(made):
    kinds, layout = made
    assume(layout.kv_tokens >= TASK.max_model_len)
    pace, room = (
        relaxed_pace(LLM, kinds, layout.tp),
        relaxed_kv_tokens(LLM, kinds, layout.tp),
    )
    demand, slo, at_once = TASK.sample, TASK.slo, np.zeros(1)
    pairs = (
        (
            prefill_rps(layout.pace, demand, slo, at_once, layout.kv_tokens),
            prefill_rps(pace, demand, slo, at_once, room),
        ),
        (
            decode_rps(layout.pace, demand, slo, layout.kv_tokens),
            decode_rps(pace.decoding(demand, slo), demand, slo, room),
        ),
        (mixed_rps(layout.pace, demand, slo, layout.kv_tokens), mixed_rps(pace, demand, slo, room)),
    )
    assert all(real <= most * INTERPOLATED for real, most in pairs)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.gpu.name)
def test_the_best_layout_of_a_group_is_close_below(kind):
    relaxed, capacities = Relaxed(TASK), Capacities(TASK)
    for gpus in (4, 8):
        for phase in Phase:
            rps = relaxed.best(((kind, 1),), gpus, phase)
            best = capacities.best((Share(kind, gpus),), phase)
            assert best is None or 0.9 * rps <= best[1] <= rps * (1 + 1e-6)


@pytest.mark.parametrize("phase", Phase)
def test_gpus_of_one_phase_are_grouped_as_suits_them(phase):
    relaxed, kind = Relaxed(TASK), KINDS[2]
    eight = relaxed.most(kind, 8, phase)
    assert eight >= relaxed.most(kind, 3, phase) + relaxed.most(kind, 5, phase)
    assert eight >= relaxed.best(((kind, 1),), 8, phase) > 0


@given(any_layout())
@settings(max_examples=40)
def test_no_replica_serves_more_than_its_gpus_add(made):
    kinds, layout = made
    if layout.pp < 2 or layout.kv_tokens < TASK.max_model_len:
        return
    demand, slo = TASK.sample, TASK.slo
    rps = (
        prefill_rps(layout.pace, demand, slo, np.zeros(1)),
        decode_rps(layout.pace, demand, slo, layout.kv_tokens),
        mixed_rps(layout.pace, demand, slo, layout.kv_tokens),
    )
    for phase, real in zip(Phase, rps, strict=True):
        each = most_per_gpu(TASK, [kind for kind, _ in kinds], phase)
        assert real <= layout.tp * sum(add * count for add, (_, count) in zip(each, kinds, strict=True)) * (1 + 1e-6)
