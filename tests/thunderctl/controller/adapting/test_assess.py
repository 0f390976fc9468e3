"""What an assessment says: cheap where all is well, and a better plan where there is one."""

from dataclasses import replace

import pytest

from planner import quick_rebalance
from planner.catalog import Link
from planner.deployment import Codec, Phase
from planner.errors import Infeasible
from planner.evaluate import LEAST_TTFT
from planner.quick_rebalance import attainment
from planner.workload import Workload
from runtime.messages import ReplicaAddress, Routes, RouteShare
from tests.planner.plans import split_plan
from tests.thunderctl.controller.adapting.days import CODING, CONVERSATION, fleet, suiting
from thunderctl.controller.adapting import assess as module
from thunderctl.controller.adapting.assess import assess, confirmed, mixture
from thunderctl.controller.adapting.assessment import Assessment, MovedLink, Question, reason_of
from thunderctl.controller.adapting.in_force import as_routed, moved_links
from thunderctl.controller.adapting.likeness import alike

LEAST = 0.03
PLAN = split_plan()
BETTER = replace(PLAN, replicas=tuple(one.flipped(Phase.MIXED) for one in PLAN.replicas))
SEEN = CODING.at(1.0)


def never(*_):
    raise AssertionError("it was looked for better routes")


def scored(now, best):
    return lambda _, plan, __: best if plan is BETTER else now


@pytest.fixture(scope="module")
def for_conversation():
    return suiting(fleet(), CONVERSATION)


def test_where_nearly_all_is_within_the_targets_nothing_better_is_looked_for():
    found = assess(Question(0.0, 1, PLAN, SEEN), least_gain=LEAST, score=scored(0.98, 1.0), search=never)
    assert (found.now, found.best, found.plan) == (0.98, 0.98, None)


def test_without_a_workload_or_its_rate_nothing_is_judged():
    for seen in (None, CODING):
        found = assess(Question(0.0, 1, PLAN, seen), least_gain=LEAST, score=never, search=never)
        assert (found.now, found.gain) == (None, 0.0)


def test_what_is_found_is_scored_by_the_same_measure():
    found = assess(Question(0.0, 1, PLAN, SEEN), least_gain=LEAST, score=scored(0.6, 0.9), search=lambda *_: BETTER)
    assert found.gain == pytest.approx(0.3)
    assert [(one.replica, str(one.after)) for one in found.flips] == [("r0", "mixed"), ("r1", "mixed")]


def test_what_scores_no_better_is_not_proposed():
    found = assess(Question(0.0, 1, PLAN, SEEN), least_gain=LEAST, score=scored(0.6, 0.6), search=lambda *_: BETTER)
    assert (found.plan, found.best) == (None, 0.6)


def test_while_nothing_changed_but_by_chance_what_was_said_holds():
    known = Assessment(0.0, 1, SEEN, SEEN, 0.7, 0.7)
    again = Question(30.0, 1, PLAN, CODING.at(1.02), known=known)
    assert assess(again, least_gain=LEAST, score=never, search=never) == replace(
        known, at=30.0, workload=again.workload
    )
    for other in (replace(again, epoch=2), replace(again, workload=CONVERSATION.at(1.0)), replace(again, past=(SEEN,))):
        found = assess(other, least_gain=LEAST, score=scored(0.6, 0.6), search=lambda *_: None)
        assert found.now == 0.6


def test_a_search_that_fails_leaves_all_as_it_is(monkeypatch):
    def nothing(*_, **__):
        raise Infeasible("No plan meets the targets.")

    monkeypatch.setattr(module, "quick_rebalance", nothing)
    found = assess(Question(0.0, 1, PLAN, SEEN), least_gain=LEAST, score=scored(0.2, 1.0))
    assert (found.now, found.best, found.plan) == (0.2, 0.2, None)


def test_a_workload_that_goes_back_and_forth_is_planned_for_as_a_whole():
    asked = []
    question = Question(0.0, 1, PLAN, SEEN, past=(CONVERSATION.at(3.0), CONVERSATION.at(2.0)))
    assess(question, least_gain=LEAST, score=scored(0.2, 0.1), search=lambda _, workload: asked.append(workload))
    assert asked == [SEEN, mixture((SEEN, *question.past))]
    assert asked[1].rate_rps == pytest.approx(2.0)
    assert len(asked[1].lengths) == len(SEEN.lengths) + 2 * len(CONVERSATION.lengths)


def test_other_phases_are_found_for_coding_and_confirmed_with_the_reason(for_conversation):
    """In real simulations: a fleet for conversations has too little that prefills."""
    question = Question(7.0, 3, for_conversation, SEEN)
    found = assess(question, least_gain=LEAST)
    assert found.now < 0.9 < found.best
    assert {str(one.after) for one in found.flips} == {"prefill"}
    proposal = confirmed(question, found, least_gain=LEAST)
    assert (proposal.at, proposal.epoch) == (7.0, 3)
    assert proposal.plan.plan_id != for_conversation.plan_id
    assert "requests are expected within the targets" in proposal.reason
    assert "1 requests/s of " in proposal.reason
    assert confirmed(question, found, least_gain=0.99) is None


def test_the_phases_that_suit_it_are_left_alone(for_conversation):
    assert assess(Question(0.0, 1, for_conversation, CONVERSATION.at(1.0)), least_gain=LEAST).plan is None


def test_attainment_needs_a_rate(for_conversation):
    with pytest.raises(ValueError, match="has no rate"):
        attainment(for_conversation, CODING)


def test_windows_of_the_same_requests_are_alike_and_others_are_not():
    few = Workload("w", CODING.lengths[::10], 1.0)
    assert alike(few, Workload("w", CODING.lengths[5::10], 1.1))
    assert not alike(few, Workload("w", CONVERSATION.lengths[::10], 1.0))
    assert not alike(few, few.at(2.0))
    assert not alike(few, Workload("w", few.lengths))


def test_what_is_in_force_is_what_the_router_follows():
    """Of r0, r1 and r2, r1 and r2 are left, both mixed."""
    addresses = tuple(ReplicaAddress(name, Phase.MIXED, "http://x") for name in ("r1", "r2"))
    shares = (RouteShare("r1", "r1", 0.6, Codec.LOCAL), RouteShare("r2", "r2", 0.4, Codec.LOCAL))
    found = as_routed(PLAN, Routes(5, "m", addresses, shares, PLAN.plan_id))
    assert [(one.id, one.phase) for one in found.replicas] == [("r1", Phase.MIXED), ("r2", Phase.MIXED)]
    assert [(one.prefill, one.share) for one in found.routes] == [("r1", 0.6), ("r2", 0.4)]


@pytest.mark.parametrize(("gbit", "moved"), [(3.9, True), (4.1, False), (15.9, False), (16.1, True)])
def test_a_way_has_moved_below_half_or_beyond_double_of_what_was_planned(gbit, moved):
    plan = suiting(fleet(), CONVERSATION)
    route = next(one for one in plan.routes if one.prefill != one.decode)
    planned = replace(plan, routes=(replace(route, bandwidth_gbit_per_s=8.0),))
    ends = plan.replica(route.prefill).instances[0], plan.replica(route.decode).instances[0]
    found = moved_links(planned, {ends: Link(gbit, 1.0)})
    assert found == ((MovedLink(*ends, 8.0, gbit),) if moved else ())


def test_on_a_way_that_got_narrow_other_routes_are_found(for_conversation):
    """Its KV then crosses packed, or not at all."""
    links = {
        (a.id, b.id): Link(0.05, 1.0) for a in for_conversation.instances for b in for_conversation.instances if a != b
    }
    question = Question(0.0, 1, for_conversation, CONVERSATION.at(1.0), links=links)
    found = assess(question, least_gain=LEAST)
    assert found.now < 0.9
    assert found.gain >= LEAST
    assert set(found.plan.routes) != set(for_conversation.routes)


def test_the_reason_names_the_ways_that_moved():
    found = Assessment(0.0, 1, SEEN, SEEN, 0.5, 0.9, BETTER, SEEN, (), (MovedLink("i0", "i1", 8.0, 0.4),))
    assert reason_of(found, PLAN.workload).endswith("i0 to i1 has 0.4 Gbit/s, 8 were planned with")


def test_a_long_target_has_a_run_last_longer_but_of_no_more_requests_than_a_controller_has_time_for(monkeypatch):
    counts = []

    def counted(_plan, requests, **_):
        counts.append(len(requests.arrival_s))
        raise Infeasible("that is all")

    monkeypatch.setattr(quick_rebalance, "replay", counted)
    patient = replace(PLAN, slo=replace(PLAN.slo, ttft_s=600.0))
    for rate, most in ((1.0, 600 * LEAST_TTFT), (2000.0, quick_rebalance.MOST_LONGER)):
        with pytest.raises(Infeasible):
            attainment(patient, replace(SEEN, rate_rps=rate))
        assert counts[-1] == pytest.approx(most, rel=0.1)
