"""An overload that hides behind the short answers, which end first, is seen and rebalanced."""

import pytest

from planner.deployment import Phase
from tests.runtime.router.watching.crowd import Crowd
from tests.runtime.router.watching.test_lengths import WRITING
from tests.thunderctl.controller.adapting.days import CODING, fleet, suiting
from thunderctl.controller.adapting.assess import assess, confirmed
from thunderctl.controller.adapting.assessment import Question
from thunderctl.controller.adapting.drift import Drift
from thunderctl.demand import observed_workload

WINDOW_S, LOOK_S, RATE_RPS = 120.0, 30.0, 1.4
"""At this rate it depends on the lengths whether the fleet keeps up, which is another than the one observed."""


@pytest.fixture(scope="module")
def plan():
    return suiting(fleet(), CODING)


def observed(*, ended_alone: bool) -> dict:
    """After three minutes of writing at a server that is far too slow for it: of 326 requests 25 have ended."""
    crowd = Crowd(WRITING, 2.0, 250.0, seed=1)
    seen = crowd.watched(180.0).summary(WINDOW_S) | {"rate_rps": RATE_RPS}
    if ended_alone:
        seen["lengths"] = [[one.prompt, one.output] for one in crowd.asked if one.record.outcome == "ok"]
    return seen


def test_by_what_ended_alone_nothing_would_be_done(plan):
    """What this mends: all would meet the targets, by what had ended."""
    question = Question(0.0, 1, plan, observed_workload(observed(ended_alone=True), plan))
    found = assess(question, least_gain=Drift().pace.margin)
    assert found.now > 0.97
    assert found.plan is None


def test_two_looks_at_what_arrives_have_more_replicas_decode(plan):
    seen, drift, verdicts = observed_workload(observed(ended_alone=False), plan), Drift(), []
    for number in range(2):
        question = Question(LOOK_S * number, 1, plan, seen, known=drift.last)
        drift = drift.after(assess(question, least_gain=drift.pace.margin))
        verdicts.append(drift.verdict(()).acts)
    assert verdicts == [False, True]
    assert drift.last.now < 0.5
    proposal = confirmed(question, drift.last, least_gain=drift.pace.margin)
    assert drift.last.best - drift.last.now > 0.4
    assert count(proposal.plan, Phase.DECODE) > count(plan, Phase.DECODE)
    assert "% of the requests are expected within the targets, 0% as it is" in proposal.reason


def count(plan, phase: Phase) -> int:
    return sum(one.phase is phase for one in plan.replicas)
