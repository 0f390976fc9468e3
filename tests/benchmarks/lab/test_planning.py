"""Plans of hosts that are unlike: what each was found to do decides, though a plan has one word for all of them."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.lab.calibrating import Speeds
from benchmarks.lab.planning import Drawing, best
from benchmarks.lab.shifting import MISSED, worth_a_flip
from planner.catalog import GpuCalibration
from planner.costmodel.calibrate import Handover
from planner.deployment import Codec, Phase
from planner.gpus import gpu_named
from planner.simulation.scenario import Requests
from planner.validate import validate
from planner.workload import Slo, Workload
from thunderctl.calibration.calibrate import MODEL
from thunderctl.calibration.fleet import fleet_plan
from thunderctl.spec.inputs import read_llm

FAST = GpuCalibration(
    "CPU", gemm_share=0.5, attention_factor=1.0, read_share=0.5, step_s=4e-3, sequence_s=2e-4, prompt_s=1e-2
)
SLOW = replace(FAST, gemm_share=0.1, read_share=0.1, step_s=2e-2, sequence_s=1e-3, prompt_s=5e-2)
SLO = Slo(ttft_s=3.0, tpot_s=0.08)
WORKLOAD = Workload("some", ((200, 20), (400, 40)))
REQUESTS = Requests(np.arange(20) * 1.0, np.full(20, 300.0), np.full(20, 20.0))


@pytest.fixture
def drawing(tmp_path, monkeypatch):
    """Two hosts, the first five times as fast as the second."""
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    plan = fleet_plan(read_llm(str(MODEL)), 2)
    if len(plan.instances) < 2:
        pytest.skip("this machine has no room for two")
    gpus = {one.id: speed.applied(gpu_named("CPU")) for one, speed in zip(plan.instances, (FAST, SLOW), strict=True)}
    return Drawing(plan, Speeds(gpus, Handover(20.0, 5.0, 0.5), 0.1), WORKLOAD, SLO, 1000.0, Codec.RAW)


def use_of(drawing, *phases):
    return next(use for use in drawing.uses() if use.phases == phases)


def test_all_uses_are_drawn_up_and_the_best_serves_the_most(drawing):
    uses = list(drawing.uses())
    phases = {use.phases for use in uses}
    assert phases == {(Phase.MIXED,) * 2, (Phase.PREFILL, Phase.DECODE), (Phase.DECODE, Phase.PREFILL)} | {
        one for one in phases if Phase.MIXED in one
    }
    assert best(uses).served_rps == max(use.served_rps for use in uses)


def test_the_faster_host_gets_more_of_the_requests(drawing):
    together = use_of(drawing, Phase.MIXED, Phase.MIXED)
    shares = {route.prefill: route.share for route in together.chosen.pairing.routes}
    assert shares["r0"] > 2 * shares["r1"]


def test_a_slow_line_makes_the_first_token_late_and_four_bits_make_up_for_some_of_it(drawing):
    fast = use_of(drawing, Phase.PREFILL, Phase.DECODE)

    def ttft_s(mbit_per_s, codec):
        own = replace(drawing, mbit_per_s=mbit_per_s)
        return own.over(fast, codec).foreseen(own.current, REQUESTS, SLO).ttft_p50_s

    quick, late = ttft_s(1000.0, Codec.RAW), ttft_s(20.0, Codec.RAW)
    assert quick < ttft_s(20.0, Codec.INT4) < late


def test_a_plan_is_of_the_machines_that_run_and_says_their_median(drawing):
    plan = drawing.plan(use_of(drawing, Phase.PREFILL, Phase.DECODE), 0.5)
    validate(plan)
    assert plan.instances == drawing.current.instances
    assert [one.stages for one in plan.replicas] == [one.stages for one in drawing.current.replicas]
    assert [(one.gpu, one.step_s) for one in plan.calibrations] == [("CPU", pytest.approx(1.2e-2))]
    assert {route.codec for route in plan.routes} == {Codec.RAW}


def test_a_plan_over_other_lines_has_the_same_shares_and_another_codec(drawing):
    use = use_of(drawing, Phase.PREFILL, Phase.DECODE)
    slow = replace(drawing, mbit_per_s=20.0, codec=Codec.INT4)
    plan = slow.plan(slow.over(use, Codec.INT4), 0.5)
    validate(plan)
    assert [(route.share, route.codec) for route in plan.routes] == [(1.0, Codec.INT4)]
    assert plan.routes[0].bandwidth_gbit_per_s == pytest.approx(0.019)


@pytest.mark.soak  # seconds of simulation
def test_long_answers_come_just_faster_than_the_plan_in_force_bears(drawing):
    shift = worth_a_flip(drawing.plan(use_of(drawing, Phase.PREFILL, Phase.DECODE), 0.5))
    assert 0.2 < shift.before <= 1 - MISSED
    assert shift.after >= shift.before
