from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.deployment import Codec, Phase
from planner.errors import SpecError
from planner.members import members_of
from planner.rebalance import rebalance
from planner.rebalancing.alike import classes_of, designation_count
from planner.rebalancing.designating import MOST_LISTED
from planner.traces import workload_named
from planner.validate import violations
from planner.workload import Slo
from tests.planner.search.fleets import plan_of

CONVERSATION, CODING = workload_named("conversation"), workload_named("coding")


SLO = Slo(ttft_s=4.0, tpot_s=0.07)
CARDS = [(gpu, (1,)) for gpu in ("L4", "A5000") for _ in range(2)]


@pytest.fixture(scope="module")
def fleet():
    """Four cards of two kinds on one network, in the phases that suit conversations."""
    return rebalance(plan_of(CARDS, gbit_per_s=8.0), CONVERSATION, SLO).plan


@pytest.fixture(scope="module")
def coding(fleet):
    """The same once the workload has changed."""
    return rebalance(fleet, CODING)


def test_another_workload_flips_phases_and_touches_nothing_else(fleet, coding):
    changed = coding.plan
    assert violations(changed) == []
    assert changed.instances == fleet.instances
    assert [(r.id, r.stages) for r in changed.replicas] == [(r.id, r.stages) for r in fleet.replicas]
    assert [r.phase for r in changed.replicas] != [r.phase for r in fleet.replicas]
    prefilling = [sum(r.phase.prefills for r in p.replicas) for p in (fleet, changed)]
    assert prefilling[1] > prefilling[0]
    assert changed.plan_id != fleet.plan_id


def test_what_was_in_force_is_named_with_what_it_would_serve(coding):
    changed = coding.plan
    (before,) = changed.alternatives
    assert before.name == "phases as they were"
    assert before.goodput_rps < changed.predicted.goodput_rps


def test_the_same_workload_leaves_the_phases_alone(fleet):
    again = rebalance(fleet, CONVERSATION).plan
    assert [r.phase for r in again.replicas] == [r.phase for r in fleet.replicas]
    assert again.predicted.goodput_rps == pytest.approx(fleet.predicted.goodput_rps, rel=0.02)


def test_there_and_back_again(fleet, coding):
    back = rebalance(coding.plan, CONVERSATION).plan
    assert back.predicted.goodput_rps == pytest.approx(fleet.predicted.goodput_rps, rel=0.05)


def test_an_observed_rate_is_what_is_predicted_for(fleet):
    assert rebalance(fleet, CODING.at(1.0)).plan.workload.rate_rps == 1.0


def test_other_targets_may_be_given(fleet, coding):
    relaxed = rebalance(fleet, CODING, Slo(ttft_s=20.0, tpot_s=0.5)).plan
    assert relaxed.slo.ttft_s == 20.0
    assert relaxed.predicted.goodput_rps > coding.plan.predicted.goodput_rps


def test_a_lone_replica_becomes_mixed():
    alone = plan_of([("A40", (1,))])
    assert [r.phase for r in rebalance(alone, CODING, Slo(10.0, 0.5)).plan.replicas] == [Phase.MIXED]


def test_more_replicas_than_can_be_listed_are_rebalanced_too():
    gpus = ("A40", "A6000", "A100-SXM4-40GB", "L4", "L40S", "H100-SXM5-80GB", "RTX4090")
    many = plan_of([(gpu, (tp,)) for gpu in gpus for tp in (1, 2)], gbit_per_s=40.0)
    changed = rebalance(many, CODING)
    assert designation_count(classes_of(members_of(many, {}), {})) > MOST_LISTED
    assert violations(changed.plan) == []
    assert changed.before is not None
    assert changed.plan.search.objective_rps > changed.before.search.objective_rps
    assert changed.plan.bound.gap < 0.05


def test_a_plans_members_are_its_replicas_where_they_run(split_plan):
    members = members_of(split_plan, {})
    assert [(m.replica.id, m.instance.id, m.layout.tp, m.layout.pp) for m in members] == [
        ("r0", "i0", 1, 1),
        ("r1", "i0", 1, 1),
        ("r2", "i1", 1, 2),
    ]


def test_full_wires_are_relieved_by_packing(fleet, coding):
    """Raw KV of coding prompts would fill the decode card's 8 Gbit/s; every hop packs instead."""
    changed = coding.plan
    assert Codec.RAW not in {route.codec for route in changed.routes}
    raw = rebalance(fleet, CODING, codec=Codec.RAW).plan
    assert raw.predicted.goodput_rps < changed.predicted.goodput_rps


def test_the_plan_says_why_its_phases_changed(fleet, coding):
    found = coding
    before = {replica.id: replica.phase for replica in fleet.replicas}
    flipped = [replica.id for replica in found.plan.replicas if replica.phase is not before[replica.id]]
    told = " ".join(found.why)
    assert all(name in told for name in flipped)
    assert [word for word in ("busy", "attainment", "simulated") if word not in told] == []
    assert found.plan.notes[: len(found.why)] == found.why
    assert found.before is not None
    assert found.before.predicted.slo_attainment < found.plan.predicted.slo_attainment


def test_a_lost_replica_is_left_out_and_the_others_take_its_work(fleet):
    lost = fleet.replicas[0].id
    found = rebalance(fleet, CONVERSATION, lost=(lost,))
    assert violations(found.plan) == []
    assert [replica.id for replica in found.plan.replicas] == [r.id for r in fleet.replicas if r.id != lost]
    assert found.plan.instances == fleet.instances
    assert found.why[0] == f"Left out: {lost}."
    assert found.plan.predicted.goodput_rps < fleet.predicted.goodput_rps


def test_a_lost_instance_takes_its_replicas_with_it(fleet):
    lost = fleet.replicas[0].instances[0]
    found = rebalance(fleet, CONVERSATION, lost=(lost,)).plan
    assert violations(found) == []
    assert lost not in {instance.id for instance in found.instances}
    assert all(lost not in replica.instances for replica in found.replicas)
    assert found.cost_usd_per_hour < fleet.cost_usd_per_hour


def test_losing_all_that_decodes_flips_others_to_it(fleet):
    decoding = [replica.id for replica in fleet.replicas if replica.phase.decodes]
    assert 0 < len(decoding) < len(fleet.replicas)
    found = rebalance(fleet, CONVERSATION, lost=decoding)
    assert any(replica.phase.decodes for replica in found.plan.replicas)
    assert found.before is None
    assert "as they were, the replicas serve nothing" in " ".join(found.why)


@pytest.mark.parametrize(
    ("lost", "message"), [(("r99",), "r99 is not of this plan"), (None, "Every replica would be left out")]
)
def test_what_is_lost_must_be_there_and_leave_something(fleet, lost, message):
    with pytest.raises(SpecError, match=message):
        rebalance(fleet, CODING, lost=[r.id for r in fleet.replicas] if lost is None else lost)


def test_slower_links_never_serve_more_and_end_split_serving(fleet):
    def served(gbit: float) -> float:
        ids = [instance.id for instance in fleet.instances]
        links = {(a, b): Link(gbit, 0.5) for a in ids for b in ids if a != b}
        return rebalance(fleet, CODING, links=links).plan.search.objective_rps

    rates = [served(gbit) for gbit in (4.0, 0.8, 0.08)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_links_slow_a_replica_whose_stages_they_join(split_plan):
    """r2 lies on i1 and i2."""
    alone = replace(split_plan, replicas=(split_plan.replicas[2],), routes=())

    def served(gbit: float) -> float:
        links = {ends: Link(gbit, 0.5) for ends in (("i1", "i2"), ("i2", "i1"))}
        return rebalance(alone, CONVERSATION, SLO, links=links).plan.search.objective_rps

    assert served(1.0) < 0.9 * served(10.0)


def test_the_same_question_has_the_same_answer(fleet, noon):
    one, other = (rebalance(fleet, CODING, now=noon) for _ in range(2))
    assert (one.plan.plan_id, one.why) == (other.plan.plan_id, other.why)


def test_links_of_unknown_places_are_refused(fleet):
    with pytest.raises(SpecError, match="Links name"):
        rebalance(fleet, CODING, links={("nowhere", "i0"): Link(1.0, 1.0)})
