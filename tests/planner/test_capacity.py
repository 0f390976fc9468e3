"""The analytic rates against the simulator, which knows nothing of queueing formulas."""

from dataclasses import replace

import numpy as np
import pytest

from planner.capacity import decode_rps, mixed_rps, prefill_rps, targets
from planner.demand import Demand, clipped_share, demand_of, longest_request
from planner.evaluate import Part, highest_rate, measured_at
from planner.gpus import gpu_named
from planner.models import llm_named
from planner.parallel import GpuKind, Layout, Task, layouts
from planner.perfmodel import Pace
from planner.simulate import Lane, Server
from planner.traces import workload_named
from planner.workload import Slo, Workload

QWEN = llm_named("qwen3-8b")
INSTANT = Server(Pace(1e-5, 1e-5, 0.0, 0.0, 0.0, 0.0), 10**9)


def task_of(workload: str, slo: Slo) -> Task:
    return Task(QWEN, demand_of(workload_named(workload), 8192), slo, 8192)


def layout_of(task: Task, gpu: str, gpus: int = 1) -> Layout:
    kind = GpuKind(gpu_named(gpu), gpu_named(gpu).memory_gib, nvlink=True)
    return next(layout for layout in layouts(task, kind, gpus) if layout.tp == gpus)


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
    server = Server(layout.pace, layout.kv_tokens)
    hop = np.zeros_like(task.sample.prompt)
    rates = {
        Part((server,), (Lane(0, 0, 1.0),)): mixed_rps(layout.pace, task.sample, slo, layout.kv_tokens),
        Part((server, INSTANT), (Lane(0, 1, 1.0),)): prefill_rps(layout.pace, task.sample, slo, hop),
        Part((INSTANT, server), (Lane(0, 1, 1.0),)): decode_rps(layout.pace, task.sample, slo, layout.kv_tokens),
    }
    for part, promised in rates.items():
        assert 0.85 * promised < simulated_rps(task, part, promised) < 1.5 * promised


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


def test_long_requests_are_cut_to_what_the_model_admits():
    workload = Workload("w", ((10, 10), (9000, 10), (100, 9000)))
    demand = demand_of(workload, 4096)
    assert (demand.prompt + demand.output).max() == 4096
    assert clipped_share(workload, 4096) == pytest.approx(2 / 3)
    assert longest_request(llm_named("llama-30b"), 8192) == 2048


def test_a_thinner_demand_keeps_its_moments():
    demand = demand_of(workload_named("conversation"), 8192)
    thin = demand.thinned()
    assert len(thin.prompt) < len(demand.prompt)
    assert (thin.prompt_mean, thin.output_mean, thin.held) == pytest.approx(
        (demand.prompt_mean, demand.output_mean, demand.held), rel=0.02
    )


def test_the_batch_is_weighted_by_how_long_requests_stay():
    demand = Demand(np.array([100.0, 100.0]), np.array([1.0, 99.0]))
    assert demand.held == pytest.approx(0.01 * 101 + 0.99 * 199)
    assert replace(demand, output=np.array([50.0, 50.0])).held == 150.0
