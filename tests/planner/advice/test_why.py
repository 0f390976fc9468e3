"""The sentences of a rebalance, word for word."""

from dataclasses import replace

import pytest

from planner.advice.why import busy_share, why
from planner.deployment import Codec, Phase, Plan, Route
from tests.planner.search.fleets import plan_of

P, D, M = 0, 1, 2


def made(phases: tuple[int, ...], attainment: float, goodput_rps: float, routes: tuple[Route, ...] = ()) -> Plan:
    """Replicas that can do 4 requests/s each, asked for 6."""
    plan = plan_of([("A40", (1,) * len(phases))], phases)
    return replace(
        plan,
        replicas=tuple(replace(replica, capacity_rps=4.0) for replica in plan.replicas),
        routes=routes,
        workload=replace(plan.workload, rate_rps=6.0),
        predicted=replace(plan.predicted, slo_attainment=attainment, goodput_rps=goodput_rps),
    )


def phases_of(plan: Plan) -> dict[str, Phase]:
    return {replica.id: replica.phase for replica in plan.replicas}


HALVES = tuple(Route(source, "r2", 0.5, Codec.RAW) for source in ("r0", "r1"))
BEFORE = made((P, P, D), 0.71, 4.0, HALVES)


def test_one_flip_is_told_with_what_it_does():
    after = made((P, D, D), 0.94, 7.5)
    assert list(why(BEFORE, after, phases_of(BEFORE))) == [
        "r1 prefill → decode: decode was 150% busy, prefill 75%; attainment 71% → 94% at 6 requests/s, goodput 4 → 7.5 "
        "requests/s (simulated)."
    ]


def test_flips_of_several_kinds_are_told_apart_and_their_outcome_together():
    after = made((M, D, M), 0.94, 7.5)
    assert list(why(BEFORE, after, phases_of(BEFORE))) == [
        "r0 prefill → mixed: nothing did mixed, prefill 75%.",
        "r1 prefill → decode: decode was 150% busy, prefill 75%.",
        "r2 decode → mixed: nothing did mixed, decode 150%.",
        "Together: attainment 71% → 94% at 6 requests/s, goodput 4 → 7.5 requests/s (simulated).",
    ]


def test_flips_of_one_kind_are_one_sentence():
    (told,) = why(BEFORE, made((D, D, D), 0.94, 7.5), phases_of(BEFORE))
    assert told.startswith("r0 and r1 prefill → decode: ")


def test_what_is_lost_comes_first_and_what_served_nothing_is_said():
    after = made((P, D), 0.9, 4.0)
    in_force = {"r0": Phase.PREFILL, "r1": Phase.PREFILL}
    assert list(why(None, after, in_force, ["r2", "i4"])) == [
        "Left out: r2, i4.",
        "r1 prefill → decode: as they were, the replicas serve nothing; attainment 90% at 6 requests/s (simulated).",
    ]


def test_no_flip_is_said_too_and_whether_simulation_decided_that():
    assert list(why(BEFORE, BEFORE, phases_of(BEFORE))) == [
        "No replica flips; attainment 71% at 6 requests/s (simulated)."
    ]
    (told,) = why(BEFORE, BEFORE, phases_of(BEFORE), overruled=True)
    assert told.startswith("No replica flips: other phases score more, but serve less in simulation; ")


@pytest.mark.parametrize(("phase", "share"), [(Phase.PREFILL, 0.75), (Phase.DECODE, 1.5), (Phase.MIXED, None)])
def test_a_phase_is_as_busy_as_its_routes_make_it(phase, share):
    assert busy_share(BEFORE, phase) == share
