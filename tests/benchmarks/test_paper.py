"""The machines and plans that the paper's table starts from, against what is published of them."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import paper_verdict
from benchmarks.paper_ablations import evenly_routed
from benchmarks.paper_cells import OURS, Cell, Result, Solved, base_slo, groups_of, task_at, total, workload_of
from benchmarks.paper_cells import PUBLISHED as PUBLISHED_NAME
from benchmarks.paper_fleet import A100S, UNLIKE, Basis, fleet, usd_per_hour
from benchmarks.paper_plans import PUBLISHED, published, published_plan
from benchmarks.paper_tables import sweeps, tightest
from planner.baselines.compare import BASELINES
from planner.deployment import Phase
from planner.parallel.layouts import Capacities, Share
from planner.parallel.rules import OneType
from planner.procurement.groups import kind_of
from planner.validate import violations
from planner.workload import Slo

REPLICAS = {
    "coding": {
        "P 2 x A40 (2, 1)": 4,
        "P 4 x A5000 (4, 1)": 1,
        "P 2 x A6000 (2, 1)": 2,
        "P 2 x A5000 + 2 x RTX3090Ti (2, 2)": 1,
        "D 4 x RTX3090Ti (2, 2)": 1,
        "D 2 x A6000 (1, 2)": 2,
        "D 2 x A5000 + 2 x RTX3090Ti (2, 2)": 1,
    },
    "conversation": {
        "P 2 x A40 (2, 1)": 3,
        "P 2 x A5000 + 2 x RTX3090Ti (2, 2)": 1,
        "D 4 x RTX3090Ti (2, 2)": 1,
        "D 2 x A40 (1, 2)": 1,
        "D 4 x A5000 (2, 2)": 1,
        "D 2 x A6000 (1, 2)": 4,
        "D 2 x A5000 + 2 x RTX3090Ti (2, 2)": 1,
    },
}
"""As published: phase, GPUs (TP, PP) → replicas."""
BOTH = pytest.mark.parametrize("workload", ["coding", "conversation"])


def cell(workload, basis=Basis.OURS, gbit_per_s=10.0, scale=20.0):
    return Cell("llama-30b", workload, basis, gbit_per_s, scale)


def test_the_fleet_costs_what_is_published():
    assert usd_per_hour(fleet(UNLIKE, Basis.PAPER, 10.0)) == pytest.approx(11.33, abs=0.005)
    assert usd_per_hour(fleet(A100S, Basis.PAPER, 10.0)) == pytest.approx(14.02, abs=0.005)


def test_it_has_eight_of_each_type():
    counts = Counter()
    for gpu, count in UNLIKE:
        counts[gpu] += count
    assert set(counts.values()) == {8}
    assert len(counts) == 4


def test_the_bases_order_the_a40_and_the_a6000_differently():
    paper, ours = ({offer.gpu.name: offer.gpu.fp16_tflops for offer in fleet(UNLIKE, b, 10.0).offers} for b in Basis)
    assert paper["A40"] > paper["A6000"]
    assert ours["A40"] < ours["A6000"]


@BOTH
def test_published_plans_have_the_published_replicas(workload):
    made = published(workload, Capacities(task_at(cell(workload))), fleet(UNLIKE, Basis.OURS, 10.0))
    found = Counter(map(str, groups_of(made)))
    assert found == REPLICAS[workload]
    assert sum(row.replicas for row in PUBLISHED[workload]) == 12


@BOTH
def test_published_plans_are_legal_documents(workload):
    plan = published_plan(workload_of(workload), task_at(cell(workload)), fleet(UNLIKE, Basis.OURS, 10.0))
    assert violations(plan) == []
    assert plan.cost_usd_per_hour == pytest.approx(11.33, abs=0.005)


@BOTH
def test_even_routes_send_as_much_to_each_decode_replica(workload):
    capacities = Capacities(task_at(cell(workload)))
    made = published(workload, capacities, fleet(UNLIKE, Basis.OURS, 10.0))
    even = evenly_routed(made, capacities)
    into = Counter()
    for route in even.pairing.routes:
        into[route.decode] += route.share
    decoding = sum(member.phase is Phase.DECODE for member in made.members)
    assert list(into.values()) == pytest.approx([1 / decoding] * decoding)


def test_groups_of_one_type_may_span_machines():
    a40, ti = (Share(kind_of(offer), 2) for offer in fleet((("A40", 4), ("RTX3090Ti", 4)), Basis.OURS, 10.0).offers)
    assert OneType()((a40, a40), Phase.DECODE)
    assert not OneType()((a40, ti), Phase.DECODE)


def test_the_slo_is_a_multiple_of_an_unloaded_request():
    base, task = base_slo(cell("coding", scale=20.0)), task_at(cell("coding", scale=20.0))
    assert task.slo.ttft_s == pytest.approx(20 * base.ttft_s)
    assert task.slo.tpot_s == pytest.approx(20 * base.tpot_s)


def at_scale(scale, goodput_rps):
    names = (OURS, PUBLISHED_NAME, *BASELINES)
    return Solved(cell("coding", scale=scale), Slo(), 2.0, {name: Result(name, 1.0, goodput_rps) for name in names})


def test_the_tightest_deadline_lies_between_the_scales_that_reach_a_rate():
    swept = sweeps([at_scale(10.0, 1.0), at_scale(40.0, 3.0), at_scale(20.0, 1.0)])[0]
    assert tightest(swept, OURS, 2.0) == pytest.approx(20 * 2**0.5)
    assert tightest(swept, OURS, 0.5) == 10.0
    assert tightest(swept, OURS, 4.0) == float("inf")


def test_who_beats_ours_is_named():
    equal = at_scale(20.0, 1.0)
    better = replace(equal, results={**equal.results, "vllm": Result("vllm", 1.0, 1.5)})
    assert paper_verdict.lost([equal]) == []
    assert paper_verdict.lost([better]) == [f"- {better.cell}: 1.00 against 1.50 of vllm."]


def test_replicas_and_gpus_of_a_phase_are_counted():
    made = published("coding", Capacities(task_at(cell("coding"))), fleet(UNLIKE, Basis.OURS, 10.0))
    assert total(groups_of(made), "prefill") == (8, Counter({"A40": 8, "A5000": 6, "A6000": 4, "RTX3090Ti": 2}))
    assert total(groups_of(made), "decode") == (4, Counter({"A6000": 4, "A5000": 2, "RTX3090Ti": 6}))
