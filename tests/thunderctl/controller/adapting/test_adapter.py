"""The controller rebalances by itself: in a world without processes, with assessments that say what a test wants."""

from dataclasses import replace
from itertools import pairwise

import pytest

from planner.deployment import Codec, Phase, Route
from tests.thunderctl.controller.situations import LOST, PLAN, at_end, done, situation
from tests.thunderctl.controller.worlds import ControllerWorld
from thunderctl.controller.adapting import adapter
from thunderctl.controller.adapting.assessment import Assessment, Proposal
from thunderctl.controller.decide import decide, is_calm
from thunderctl.controller.situation import Routing
from thunderctl.controller.steps import Rebalance
from thunderctl.deploying.lifecycle import flips_between
from thunderctl.spec.spec import Spec
from thunderctl.store.values import DeploymentState

LENGTHS = [[2000, 10]] * 40
TRAFFIC = {"lengths": LENGTHS, "rate_rps": 2.0}


def turned(plan):
    """The other way round: whoever prefills decodes, and whoever decodes prefills."""
    other = {Phase.PREFILL: Phase.DECODE, Phase.DECODE: Phase.PREFILL, Phase.MIXED: Phase.MIXED}
    turns = tuple(one.flipped(other[one.phase]) for one in plan.replicas)
    routes = tuple(
        Route(one.decode, one.prefill, one.share, Codec.LOCAL if one.prefill == one.decode else Codec.INT4)
        for one in plan.routes
    )
    return replace(plan, replicas=turns, routes=routes, plan_id=f"{plan.plan_id}+")


def always_better(question, **_):
    found = Assessment(question.at, question.epoch, question.workload, question.workload)
    if question.workload is None:
        return found
    plan = turned(question.plan)
    flips = tuple(flips_between(question.plan, plan))
    return replace(found, now=0.5, best=0.9, plan=plan, suited=question.workload, flips=flips)


def sure(_question, found, **_):
    return Proposal(found.at, found.epoch, found.plan, found.flips, "90% are expected within the targets, 50% as it is")


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(adapter, "assess", always_better)
    monkeypatch.setattr(adapter, "confirmed", sure)

    def make(**controller):
        made = ControllerWorld(
            tmp_path / "controller", tick_s=5.0, spec=Spec.model_validate({"controller": controller})
        )
        made.router.traffic = TRAFFIC
        return made

    return make


def changes(made):
    return [at for at, kind, _ in made.store.told if kind == "rebalance"]


async def test_it_rebalances_after_two_looks_and_says_why(world):
    made = world()
    await made.run(20)
    assert made.router.served == []
    await made.until(lambda: made.router.served, within_s=60)
    assert {one.id: one.phase for one in made.router.in_force.replicas}["r0"] is Phase.DECODE
    assert made.store.saved.plan_id == made.router.in_force.plan_id == f"{PLAN.plan_id}+"
    (why,) = made.events("controller.rebalance")[:1]
    assert why.startswith("r0 prefill → decode, r1 decode → prefill: 90% are expected within the targets, 50% as it is")
    assert made.events("rebalance") == ["epoch 2: r0 prefill → decode, r1 decode → prefill"]
    assert made.alerts == ()


async def test_what_goes_back_and_forth_is_changed_ever_more_seldom(world):
    made = world(rebalance_cool_down_s=300)
    await made.run(4200)
    times = changes(made)
    apart = [later - one for one, later in pairwise(times)]
    assert [round(seconds / 300) for seconds in apart[:4]] == [1, 2, 4, 4]
    assert min(apart) >= 300


async def test_the_cool_down_outlives_the_controller(world):
    made = world(rebalance_cool_down_s=3000)
    await made.until(lambda: changes(made), within_s=120)
    (first,) = changes(made)
    for _ in range(5):
        made.again()
        await made.run(400)
    assert changes(made) == [first]


async def test_a_command_that_rebalanced_counts_for_the_cool_down(world):
    made = world(rebalance_cool_down_s=600)
    made.store.record("d", "rebalance", "epoch 1: routes only", flips=[])
    await made.run(590)
    assert changes(made) == [made.store.told[0][0]]
    await made.until(lambda: len(changes(made)) == 2, within_s=120)


async def test_it_is_left_alone_where_the_spec_says_so(world):
    made = world(rebalance=False)
    await made.run(600)
    assert changes(made) == []
    assert made.reports[-1].adapting == {}


async def test_too_few_requests_are_no_reason(world):
    made = world()
    made.router.traffic = {"lengths": LENGTHS[:5], "rate_rps": 2.0}
    await made.run(600)
    assert changes(made) == []
    assert made.reports[-1].adapting["predicted_now"] is None


async def test_while_a_command_holds_the_lock_nothing_is_changed(world):
    made = world()
    await made.run(20)
    made.store.held = "up"
    await made.run(600)
    assert made.router.served == []
    made.store.held = ""
    await made.until(lambda: made.router.served, within_s=130)


async def test_with_a_replica_lost_the_others_are_routed_first_and_only_then_adapted(world):
    made = world(rebalance_cool_down_s=600, replace_lost=False)
    await made.run(20)
    made.contact.deaf = {"i1"}
    await made.until(lambda: made.router.replicas == {"r0", "r1"}, within_s=10)
    assert changes(made) == []
    await made.until(lambda: changes(made), within_s=800)
    assert made.router.replicas == {"r0", "r1"}
    assert made.store.saved.plan_id == PLAN.plan_id, "the plan that is wanted is still the whole one"


async def test_what_longer_simulations_do_not_confirm_is_not_done(world, monkeypatch):
    asked = []
    monkeypatch.setattr(adapter, "confirmed", lambda question, *_, **__: asked.append(question.at))
    made = world(rebalance_cool_down_s=300)
    await made.run(660)
    assert changes(made) == []
    assert 1 <= len(asked) <= 3


async def test_an_assessment_that_fails_costs_no_tick(world, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(adapter, "assess", fails)
    made = world()
    await made.run(120)
    assert (made.alerts, changes(made)) == ((), [])


async def test_routes_that_changed_meanwhile_make_a_proposal_void(world):
    made = world()
    await made.run(20)
    made.store.held = "rebalance"
    await made.run(60)
    made.router.in_force = replace(made.router.in_force, epoch=7)
    assert made.controller.adapter.proposed() is None


async def test_the_report_says_what_was_found_and_until_when_it_waits(world):
    made = world(rebalance_cool_down_s=300)
    await made.until(lambda: changes(made), within_s=120)
    await made.run(60)
    found = made.reports[-1].adapting
    assert (found["predicted_now"], found["predicted_best"], found["waits"]) == (
        0.5,
        0.9,
        "the last change is too recent",
    )
    assert found["cooling_until"] == pytest.approx(changes(made)[-1] + 300)


def proposal(plan=PLAN):
    return Proposal(0.0, 1, turned(plan), (), "it pays")


def test_a_proposal_is_done_once():
    now = situation(proposal=proposal())
    (step,) = decide(now)
    assert step == Rebalance(now.proposal)
    assert decide(done(now, step)) == ()


@pytest.mark.parametrize(
    "known",
    [
        {"conditions": {"r0": LOST, "r1": LOST, "r2": situation().conditions["r2"]}},
        {"limits": at_end("i0")},
        {"state": DeploymentState.STOPPING},
        {"state": DeploymentState.STARTING},
        {"plan_id": "another"},
        {"routing": Routing(PLAN, frozenset({"r0", "r1", "r2"}), running=False)},
        {"routing": Routing(PLAN, frozenset({"r0", "r1", "r2"}), admits=False)},
        {"moved": frozenset({"r1"})},
    ],
)
def test_nothing_is_adapted_while_anything_else_is_the_matter(known):
    now = situation(proposal=proposal(), **known)
    assert not any(isinstance(step, Rebalance) for step in decide(now))
    assert not is_calm(now)
