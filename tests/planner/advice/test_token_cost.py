"""What a token costs where: price over tokens at the SLO, in the best cut of the machine."""

from math import inf

import pytest

from planner.advice.token_cost import ranked, token_cost_to_json, token_costs
from planner.deployment import Phase
from planner.models import llm_named
from planner.parallel.layouts import Capacities, GpuKind, Share
from planner.plan import task_of
from planner.traces import workload_named
from planner.workload import Slo

EIGHT = llm_named("qwen3-8b")
CAPACITIES = Capacities(task_of(EIGHT, workload_named("conversation"), Slo(), 8192))


def test_the_price_is_that_of_the_tokens_of_the_best_group(offer):
    (cost,) = token_costs(CAPACITIES, [offer("one", usd_per_hour=0.5)])
    card = offer("one")
    _, rps = CAPACITIES.best((Share(GpuKind(card.gpu, card.memory_gib, card.nvlink), 1),), Phase.PREFILL)
    prompts = CAPACITIES.task.demand.prompt_mean
    assert cost.usd_per_million(Phase.PREFILL) == pytest.approx(0.5 / (rps * prompts * 3600) * 1e6)
    assert cost.usd_per_hour_per_rps(Phase.PREFILL) == pytest.approx(0.5 / rps)


def test_twice_the_price_is_twice_the_cost_and_two_machines_cost_as_one(offer):
    one, dear, pair = token_costs(
        CAPACITIES, [offer("one"), offer("dear", usd_per_hour=2.0), offer("pair", usd_per_hour=2.0, gpu_count=2)]
    )
    for phase in Phase:
        assert dear.usd_per_million(phase) == pytest.approx(2 * one.usd_per_million(phase))
        assert pair.usd_per_million(phase) <= one.usd_per_million(phase) * (1 + 1e-9)


def test_unlike_cards_pay_for_unlike_phases(offer):
    """As in the paper's figure 1: against an A100, the L40S has more compute and less than half the bandwidth."""
    compute, bandwidth = token_costs(CAPACITIES, [offer("l40s", "L40S"), offer("a100", "A100-SXM4-80GB")])

    def ratio(cost):
        return cost.usd_per_million(Phase.PREFILL) / cost.usd_per_million(Phase.DECODE)

    assert ratio(compute) < 0.8 * ratio(bandwidth)


def test_what_serves_nothing_comes_last_and_has_no_price(offer):
    costs = token_costs(CAPACITIES, [offer("tiny", "A4000", usd_per_hour=0.01), offer("big")])
    ordered = ranked(costs, Phase.DECODE)
    assert [cost.offer.offer_id for cost in ordered] == ["big", "tiny"]
    assert ordered[-1].usd_per_million(Phase.DECODE) is None
    assert ordered[-1].usd_per_hour_per_rps(Phase.DECODE) is None
    assert token_cost_to_json(ordered[-1]) == {
        "usd_per_million_prefill_tokens": None,
        "usd_per_million_decode_tokens": None,
        "usd_per_million_mixed_tokens": None,
    }


def test_ranks_are_by_price_whatever_the_order_given(offer):
    costs = token_costs(CAPACITIES, [offer(str(usd), usd_per_hour=usd) for usd in (3.0, 1.0, 2.0)])
    prices = [cost.usd_per_million(Phase.MIXED) or inf for cost in ranked(costs, Phase.MIXED)]
    assert prices == sorted(prices)


def test_kv_that_cannot_move_leaves_mixed_only(offer):
    windowed = Capacities(task_of(llm_named("gemma-3-4b"), workload_named("conversation"), Slo(), 8192))
    (cost,) = token_costs(windowed, [offer("one")])
    assert cost.usd_per_million(Phase.PREFILL) is None
    assert cost.usd_per_million(Phase.MIXED) > 0
