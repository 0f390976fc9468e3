"""The analytic rates against the simulator, which knows nothing of queueing formulas."""

from dataclasses import replace

import numpy as np
import pytest

from planner.choosing.goodput import sustained_at
from planner.choosing.notches import highest_rate
from planner.demand import demand_of
from planner.evaluate import Part, measured_at
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel.capacity import decode_rps, mixed_rps, prefill_rps, targets
from planner.parallel.layouts import GpuKind, Layout, Share, Task, layouts
from planner.simulation.scenario import Lane, Server
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.paces import linear_pace

QWEN = llm_named("qwen3-8b")
INSTANT = Server(linear_pace(fixed_s=1e-6), 10**9)


def task_of(workload: str, slo: Slo, **stream: float) -> Task:
    """`stream`: burstiness and prefix_hit_share, where they are not the usual."""
    return Task(QWEN, demand_of(replace(workload_named(workload), **stream), 8192), slo, 8192)


def rates_of(task: Task, layout: Layout) -> tuple[float, float, float]:
    """Prefill, decode and mixed."""
    hop = np.zeros_like(task.sample.prompt)
    return (
        prefill_rps(layout.pace, task.sample, task.slo, hop),
        decode_rps(layout.pace, task.sample, task.slo, layout.kv_tokens),
        mixed_rps(layout.pace, task.sample, task.slo, layout.kv_tokens),
    )


def parts_of(layout: Layout) -> tuple[Part, Part, Part]:
    """The same: one replica, beside another that takes no time where the phases are apart."""
    server = Server(layout.pace, layout.kv_tokens)
    return (
        Part((server, INSTANT), (Lane(0, 1, 1.0),)),
        Part((INSTANT, server), (Lane(0, 1, 1.0),)),
        Part((server,), (Lane(0, 0, 1.0),)),
    )


def layout_of(task: Task, gpu: str, gpus: int = 1) -> Layout:
    kind = GpuKind(gpu_named(gpu), gpu_named(gpu).memory_gib, nvlink=True)
    return next(layout for layout in layouts(task, (Share(kind, gpus),)) if layout.tp == gpus)


def simulated_rps(task: Task, part: Part, start: float) -> float:
    def attains(rate: float) -> bool:
        return measured_at(rate, task.demand, task.slo, [part], seed=4).slo_attainment >= task.slo.attainment

    return highest_rate(attains, start, 1e9)


@pytest.mark.parametrize("workload", ["conversation", "coding"])
@pytest.mark.parametrize(("gpu", "gpus"), [("H100-SXM5-80GB", 1), ("A100-SXM4-40GB", 2)])
@pytest.mark.parametrize("slo", [Slo(), Slo(ttft_s=1.0, tpot_s=0.05)])
def test_simulation_confirms_the_rates_which_err_on_the_safe_side(workload, gpu, gpus, slo):
    task = task_of(workload, slo)
    layout = layout_of(task, gpu, gpus)
    for part, promised in zip(parts_of(layout), rates_of(task, layout), strict=True):
        assert 0.85 * promised < simulated_rps(task, part, promised) < 1.5 * promised


@pytest.mark.parametrize("stream", [{"burstiness": 0.25}, {"burstiness": 4.0}, {"prefix_hit_share": 0.5}], ids=str)
def test_simulation_confirms_them_for_bursts_even_arrivals_and_prefix_hits(stream):
    task = task_of("conversation", Slo(), **stream)
    layout = layout_of(task, "H100-SXM5-80GB")
    for part, promised in zip(parts_of(layout), rates_of(task, layout), strict=True):
        assert 0.85 * promised < simulated_rps(task, part, promised) < 1.5 * promised


@pytest.mark.parametrize(("gpu", "gpus"), [("H100-SXM5-80GB", 2), ("A100-SXM4-80GB", 4)])
def test_a_pipeline_of_any_depth_keeps_up_what_it_is_rated_at(gpu, gpus):
    """A prompt in one of its passes holds up the others, so it decodes a larger batch than its work alone would."""
    task = Task(llm_named("qwen3-32b"), task_of("conversation", Slo()).demand, Slo(), 8192)
    kind = GpuKind(gpu_named(gpu), gpu_named(gpu).memory_gib, nvlink=True)
    layout = next(layout for layout in layouts(task, (Share(kind, gpus),)) if layout.pp == gpus)
    promised = rates_of(task, layout)[2]
    kept = sustained_at(promised * 0.97, task.demand, task.slo, [parts_of(layout)[2]], seed=4)
    lost = sustained_at(promised * 1.7, task.demand, task.slo, [parts_of(layout)[2]], seed=4)
    assert kept.least_attainment >= task.slo.attainment > lost.least_attainment


@pytest.mark.parametrize("workload", ["conversation", "coding"])
@pytest.mark.parametrize(("gpu", "gpus"), [("H100-SXM5-80GB", 1), ("A100-SXM4-80GB", 2)])
@pytest.mark.parametrize("replicas", [4, 16])
def test_simulation_confirms_the_rates_of_replicas_that_are_dealt_requests_in_rotation(workload, gpu, gpus, replicas):
    alone = Task(llm_named("qwen3-32b"), task_of(workload, Slo()).demand, Slo(), 8192)
    layout = layout_of(alone, gpu, gpus)
    promised = 0.0
    for _ in range(4):
        task = alone.in_fleet(promised * replicas)
        promised = rates_of(task, layout)[2]
    part = replace(parts_of(layout)[2], share=1 / replicas, copies=replicas)
    assert promised > 1.03 * rates_of(alone, layout)[2]
    assert 0.85 * promised < simulated_rps(alone, part, promised * replicas) / replicas < 1.35 * promised


def test_simulation_confirms_them_where_a_single_prompt_beside_it_makes_a_request_miss():
    task = Task(llm_named("llama-3.1-70b"), task_of("coding", Slo()).demand, Slo(tpot_s=0.025), 8192)
    layout = layout_of(task, "A100-SXM4-80GB", 8)
    promised = rates_of(task, layout)[2]
    assert 0 < promised < rates_of(task, layout)[0] / 4
    assert 0.85 * promised < simulated_rps(task, parts_of(layout)[2], promised) < 2 * promised


@pytest.mark.parametrize("workload", ["conversation", "coding"])
def test_the_burstier_the_arrivals_the_fewer_are_served_in_any_phase(workload):
    rates = [
        rates_of(task, layout_of(task, "A100-SXM4-40GB"))
        for task in (task_of(workload, Slo(ttft_s=1.0), burstiness=b) for b in (0.1, 0.5, 1.0, 4.0))
    ]
    for phase in zip(*rates, strict=True):
        assert sorted(phase) == list(phase)
    assert all(most > least * 1.1 for least, most in zip(rates[0], rates[-1], strict=True))


def test_prefix_hits_spare_computing_but_no_kv():
    """With half of every prompt cached a pass holds twice the prompts, and what is left attends to the whole."""
    task, cached = (task_of("coding", Slo(), prefix_hit_share=h) for h in (0.0, 0.5))
    layout = layout_of(task, "A100-SXM4-40GB")
    before, after = rates_of(task, layout), rates_of(cached, layout)
    assert 1.6 < after[0] / before[0] < 2.2
    assert after[1] == before[1]
    assert after[2] > before[2] * 1.3


def test_a_pipeline_serves_less_in_time_than_one_stage_that_takes_prompts_as_often():
    """Both can take a prompt every 25 us a token, but four stages have it out after 100 us a token."""
    quick, piped = linear_pace(fixed_s=1e-4, token_s=25e-6), linear_pace(fixed_s=4e-4, token_s=100e-6, pp=4)
    demand, slo = task_of("conversation", Slo()).sample, Slo(ttft_s=0.6, tpot_s=0.01)
    hop = np.zeros_like(demand.prompt)
    assert 0 < prefill_rps(piped, demand, slo, hop) < prefill_rps(quick, demand, slo, hop)
    assert 0 < mixed_rps(piped, demand, slo, 10**9) < mixed_rps(quick, demand, slo, 10**9)


def test_a_replica_too_slow_for_a_single_prompt_serves_none():
    task = task_of("conversation", Slo(ttft_s=0.05))
    assert prefill_rps(layout_of(task, "L4").pace, task.sample, task.slo, np.zeros_like(task.sample.prompt)) == 0.0


def test_a_replica_too_slow_for_a_single_token_serves_none():
    task = task_of("conversation", Slo(tpot_s=0.01))
    layout = layout_of(task, "L4")
    assert decode_rps(layout.pace, task.sample, task.slo, layout.kv_tokens) == 0.0
    assert mixed_rps(layout.pace, task.sample, task.slo, layout.kv_tokens) == 0.0


def test_a_slow_hop_takes_from_what_prefill_serves():
    task = task_of("conversation", Slo(ttft_s=1.0))
    speed = layout_of(task, "A100-SXM4-40GB").pace
    rates = [
        prefill_rps(speed, task.sample, task.slo, np.full_like(task.sample.prompt, s)) for s in (0.0, 0.2, 0.4, 0.9)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[2] > rates[3] == 0.0


def test_less_room_for_kv_means_a_smaller_batch():
    task = task_of("conversation", Slo())
    layout = layout_of(task, "RTX4090")
    rates = [decode_rps(layout.pace, task.sample, task.slo, tokens) for tokens in (10_000, 30_000, 90_000)]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1] / 3


def test_mixing_suffers_most_where_tokens_must_come_fast():
    """What one card does of both phases, against what two halves would do apart."""

    def share_lost(slo: Slo) -> float:
        task = task_of("coding", slo)
        layout = layout_of(task, "A100-SXM4-40GB")
        prefill = prefill_rps(layout.pace, task.sample, slo, np.zeros_like(task.sample.prompt))
        decode = decode_rps(layout.pace, task.sample, slo, layout.kv_tokens)
        apart = 1 / (1 / prefill + 1 / decode)
        return 1 - mixed_rps(layout.pace, task.sample, slo, layout.kv_tokens) / apart

    assert share_lost(Slo(ttft_s=4.0, tpot_s=0.03)) > share_lost(Slo(ttft_s=4.0, tpot_s=0.3)) + 0.1


def test_the_phases_targets_multiply_to_the_whole():
    for attainment in (0.5, 0.9, 0.99):
        found = targets(Slo(attainment=attainment))
        assert found.prefill * found.decode == pytest.approx(attainment)
        assert found.decode > found.prefill


def test_prompts_that_hold_all_the_room_for_kv_limit_the_rate():
    task = task_of("conversation", Slo(ttft_s=10.0, tpot_s=0.2))
    pace, hop = layout_of(task, "L4").pace, np.zeros_like(task.sample.prompt)
    free = prefill_rps(pace, task.sample, task.slo, hop)
    assert prefill_rps(pace, task.sample, task.slo, hop, 10**6) == free
    tight = prefill_rps(pace, task.sample, task.slo, hop, 1000)
    assert 0 < tight < free
    assert prefill_rps(pace, task.sample, task.slo, hop, 500) == pytest.approx(tight / 2)
