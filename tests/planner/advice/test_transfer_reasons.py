"""Where the price or the width of links decides what a plan does, the plan says so."""

import pytest

from planner.deployment import Phase
from planner.models import llm_named
from planner.parallel.layouts import Capacities
from planner.plan import plan, task_of
from planner.traces import workload_named
from planner.workload import Slo

QWEN, CONVERSATION, TIGHT = llm_named("qwen3-8b"), workload_named("conversation"), Slo(ttft_s=2.0, tpot_s=0.02)
SPLIT = {Phase.PREFILL, Phase.DECODE}


@pytest.fixture(scope="module")
def capacities():
    return Capacities(task_of(QWEN, CONVERSATION, TIGHT, 8192))


@pytest.fixture
def made(market_of, offer, capacities):
    """A plan for $1.20/h on cards of two kinds that suit unlike phases, and on dearer ones with a network, if any."""

    def plan_at(egress_usd_per_gb, *, network=False, gbit_per_s=40.0):
        def card(name, gpu, usd_per_hour, lan=""):
            wires = {"inet_up_gbit_per_s": gbit_per_s, "inet_down_gbit_per_s": gbit_per_s}
            price = {"usd_per_hour": usd_per_hour, "egress_usd_per_gb": egress_usd_per_gb}
            return offer(name, gpu, network=lan, **wires, **price)

        cards = [card("p", "L40S", 0.5), card("d", "A100-SXM4-40GB", 0.5)]
        if network:
            cards += [card("np", "L40S", 0.6, "lan"), card("nd", "A100-SXM4-40GB", 0.6, "lan")]
        return plan(market_of(*cards), QWEN, CONVERSATION, TIGHT, budget_usd_per_hour=1.2, known=capacities)

    return plan_at


def phases(found):
    return {replica.phase for replica in found.replicas}


def rented(found):
    return {instance.offer_id for instance in found.instances}


def said(found):
    return " ".join(found.notes)


def test_free_egress_splits_phases_over_the_cheapest_hosts(made):
    found = made(0.0, network=True)
    assert (phases(found), rented(found)) == (SPLIT, {"p", "d"})
    assert "elsewhere" not in said(found)


def test_a_price_of_egress_moves_the_split_into_one_network_and_the_plan_says_so(made):
    found = made(0.05, network=True)
    assert (phases(found), rented(found)) == (SPLIT, {"np", "nd"})
    assert found.transfer_usd_per_hour == 0.0
    assert "KV moves only where that is free, inside one instance or private network; elsewhere it is" in said(found)
    assert "at $0.05 per GB" in said(found)


def test_without_a_network_it_makes_every_replica_mixed_and_the_plan_says_so(made):
    found = made(0.05)
    assert phases(found) == {Phase.MIXED}
    assert "Every replica both prefills and decodes, and no KV moves: if moving it elsewhere were free" in said(found)
    assert "at $0.05 per GB" in said(found)


def test_slow_links_do_the_same_and_are_named(made):
    found = made(0.0, gbit_per_s=0.2)
    assert phases(found) == {Phase.MIXED}
    assert "links between instances are too slow" in said(found)
