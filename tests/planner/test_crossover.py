"""A prompt is computed where it is decoded if that is sooner than its KV comes, and no long pause for others."""

from dataclasses import replace

import pytest

from planner.batching import TOKENS_PER_PASS
from planner.costmodel.transfer import GROUP
from planner.crossover import MOST_SHARE, local_below_tokens, local_rates
from planner.deployment import Phase, Plan
from planner.members import members_of
from planner.workload import Slo
from tests.planner.plans import split_plan


def below(plan: Plan) -> int:
    """Of the route from r0 to r1, two cards of one machine."""
    return local_below_tokens(plan)[0]


def across(plan: Plan, gbit_per_s: float) -> Plan:
    """From an H100 to an A40 on another machine, over a line of so many Gbit/s."""
    head, other, last = plan.instances
    instances = (
        replace(head, gpu="H100-SXM5-80GB", gpu_memory_gib=79.0),
        replace(other, gpu="A40", gpu_memory_gib=45.0),
        last,
    )
    source, target, mixed = plan.replicas
    moved = replace(target, stages=tuple(replace(stage, instance="i1") for stage in target.stages))
    routes = (replace(plan.routes[0], bandwidth_gbit_per_s=gbit_per_s), *plan.routes[1:])
    return replace(plan, instances=instances, replicas=(source, moved, mixed), routes=routes)


def slow(plan: Plan) -> Plan:
    """The decode replica's target leaves a long prompt time to be computed beside it."""
    return replace(plan, slo=Slo(ttft_s=10.0, tpot_s=9.0))


def test_a_pass_with_the_prompt_takes_no_longer_than_the_target_for_tpot():
    plan = split_plan()
    decode = members_of(plan, {})[1].layout.pace
    tokens = below(plan)
    assert 0 < tokens < TOKENS_PER_PASS
    assert tokens % GROUP == 0
    assert float(decode.prefill_s(tokens)) < plan.slo.tpot_s
    assert float(decode.prefill_s(2.0 * tokens + GROUP)) > plan.slo.tpot_s


def test_without_that_target_an_equal_card_computes_every_prompt_of_a_pass_sooner():
    """A lone prompt gains nothing from another card that is no faster."""
    assert below(slow(split_plan())) == TOKENS_PER_PASS


def test_the_slower_the_line_the_longer_the_prompts_that_stay():
    found = [below(across(slow(split_plan()), gbit_per_s)) for gbit_per_s in (0.1, 10.0, 1000.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_a_local_route_has_nothing_to_bypass():
    assert local_below_tokens(split_plan())[1] == 0


def test_engines_that_share_the_cores_of_a_machine_spare_each_other_nothing():
    plan = replace(split_plan(), slo=Slo(ttft_s=900.0, tpot_s=600.0))
    head, other, last = (replace(one, gpu="CPU") for one in plan.instances)
    here = replace(plan, instances=(head, other, last))
    assert below(here) == 0
    target = replace(plan.replicas[1], stages=(replace(plan.replicas[1].stages[0], instance="i1"),))
    there = replace(here, instances=(head, replace(other, machine="another"), last))
    assert below(replace(there, replicas=(plan.replicas[0], target, plan.replicas[2]))) > 0


def test_decode_replicas_bear_as_much_as_their_tpot_can_spare_and_a_fifth_of_their_time_at_most():
    plan = split_plan()
    decode = members_of(plan, {})[1]
    full_s = float(decode.layout.pace.prefill_interval_s(TOKENS_PER_PASS))
    for tpot_s, share in ((0.0, MOST_SHARE), (plan.slo.tpot_s * 0.9, 0.1), (plan.slo.tpot_s, 0.0), (9.9, 0.0)):
        found = local_rates(replace(plan, predicted=replace(plan.predicted, tpot_p99_s=tpot_s)))
        assert found == {"r1": pytest.approx(share * TOKENS_PER_PASS / full_s, abs=1e-3)}
    assert decode.phase is Phase.DECODE
