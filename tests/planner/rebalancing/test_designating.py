"""The designation found, against every designation paired one by one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import Link
from planner.choosing.search import Search
from planner.members import members_of
from planner.parallel.layouts import Capacities
from planner.plan import task_of
from planner.rebalancing.alike import designations_of, phases_of
from planner.rebalancing.designating import SAME, listed, searched
from planner.rebalancing.flips import formed, served, turned
from planner.traces import workload_named
from planner.workload import Slo
from tests.planner.search.fleets import plan_of

SLO = Slo(ttft_s=4.0, tpot_s=0.1)
CAPACITIES = {
    name: Capacities(task_of(plan_of([("A40", (1,))]).llm, workload_named(name), SLO, 8192))
    for name in ("coding", "conversation")
}
GPUS = ("A40", "A6000", "A100-SXM4-40GB")
instances = st.lists(
    st.tuples(st.sampled_from(GPUS), st.sampled_from([(1,), (1, 1), (2,), (1, 2)])), min_size=1, max_size=3
).filter(lambda fleet: sum(len(groups) for _, groups in fleet) <= 5)


def every_rps(search, plan):
    """Requests/s of each designation of the plan's members, by the pairing that plans get."""
    members = members_of(plan, search.links)
    found = {}
    for way in product(range(3), repeat=len(members)):
        one = formed(search, plan, members, np.array(way))
        found[way] = one.pairing.served_rps if one else 0.0
    return found


@settings(max_examples=25)
@given(instances, st.sampled_from(["coding", "conversation"]), st.sampled_from([0.3, 2.0, 25.0]), st.data())
def test_nothing_serves_more_and_nothing_nearer_serves_as_much(fleet, workload, gbit, data):
    plan = plan_of(fleet)
    ids = [instance.id for instance in plan.instances]
    links = {(a, b): Link(gbit * data.draw(st.sampled_from([1.0, 0.5])), 0.5) for a in ids for b in ids if a != b}
    search = Search(CAPACITIES[workload], plan.budget_usd_per_hour, links, rent_all=True)
    every = every_rps(search, plan)
    found = turned(search, plan)
    assert found is not None
    best = max(every.values())
    assert found.after.pairing.served_rps >= best * (1 - 2 * SAME)
    # Of equal flows, one may fill a wire where the other, pairing's or the program's, does not. Who sees it full packs,
    # and gains what a packed hop takes less of its prefill replica.
    assert found.decision.bound_rps == pytest.approx(best, rel=5 * SAME)
    now = phases_of(members_of(plan, links))
    flips = int((found.decision.phases != now).sum())
    clearly = [way for way, rps in every.items() if rps >= best * (1 - SAME / 2)]
    assert flips <= min(int((np.array(way) != now).sum()) for way in clearly)


def test_few_designations_are_worked_out():
    plan = plan_of([("A40", (1, 1, 1, 1)), ("A6000", (1, 1, 1)), ("A100-SXM4-40GB", (1, 1, 1, 2))])
    search = Search(CAPACITIES["conversation"], plan.budget_usd_per_hour, {}, rent_all=True)
    found = turned(search, plan)
    assert found is not None
    assert found.decision.solved < 40


def test_tabu_search_comes_as_far_as_the_list_on_fleets_that_have_both():
    plan = plan_of([("A40", (1, 1)), ("A6000", (1, 1)), ("A100-SXM4-40GB", (1, 1)), ("A40", (2,))])
    for workload in ("coding", "conversation"):
        search = Search(CAPACITIES[workload], plan.budget_usd_per_hour, {}, rent_all=True)
        members = members_of(plan, {})
        all_of = designations_of(members, {}, np.zeros(len(members)))
        exact = listed(served(search, plan, members), all_of)
        tabu = searched(served(search, plan, members), all_of)
        assert tabu.best_rps == pytest.approx(exact.best_rps, rel=0.01)
        assert tabu.best_rps <= tabu.bound_rps * (1 + 1e-6)
        assert exact.best_rps <= tabu.bound_rps * (1 + 1e-6)


def test_what_serves_the_same_with_fewer_flips_is_preferred():
    """The best designation for coding, once in force, stays, although others are exactly as good."""
    plan = plan_of([("A40", (1, 1, 1)), ("A40", (1, 1, 1))])
    search = Search(CAPACITIES["coding"], plan.budget_usd_per_hour, {}, rent_all=True)
    first = turned(search, plan)
    assert first is not None
    settled = plan_of([("A40", (1, 1, 1)), ("A40", (1, 1, 1))], phases=first.decision.phases.tolist())
    again = turned(search, settled)
    assert again is not None
    assert not again.flips
