"""When a replica counts as lost, and as back."""

from dataclasses import replace

from runtime.messages import AgentHealth, EngineHealth
from tests.planner.plans import split_plan
from tests.thunderctl.observing.observed import view
from thunderctl.controller.pulse import Pulse, Sign, sign_of
from thunderctl.controller.situation import Vital

PLAN = split_plan()
R0, _, R2 = PLAN.replicas


def heard(instance, *engines):
    return replace(view(instance), health=AgentHealth(instance, "1", engines=engines))


def silent(instance):
    return replace(view(instance), health=None, problem="no answer")


def vitals(*signs):
    pulse = Pulse()
    return [pulse.felt("r0", sign).vital for sign in signs]


GOOD, MISS, SURE = Sign(), Sign("i0: no answer"), Sign("its engine is failed", certain=True)


def test_one_miss_says_little_and_two_are_a_loss():
    assert vitals(MISS, MISS) == [Vital.UNSURE, Vital.LOST]


def test_what_an_agent_says_itself_needs_no_second_look():
    assert vitals(SURE) == [Vital.LOST]


def test_it_is_back_at_the_third_good_look_in_a_row():
    assert vitals(SURE, GOOD, GOOD, MISS, GOOD, GOOD, GOOD)[1:] == [Vital.UNSURE] * 5 + [Vital.ALIVE]


def test_a_first_miss_wants_a_second_look_soon():
    pulse = Pulse()
    assert not pulse.missing
    pulse.felt("r0", MISS)
    assert pulse.missing
    pulse.felt("r0", MISS)
    assert not pulse.missing


def test_a_ready_engine_is_a_good_sign():
    assert sign_of(R0, {"i0": heard("i0", EngineHealth("r0", "ready"))}, {}) == GOOD


def test_an_engine_that_failed_says_why():
    views = {"i0": heard("i0", EngineHealth("r0", "failed", detail="out of memory\nat line 3"))}
    assert sign_of(R0, views, {}) == Sign("its engine is failed: out of memory", certain=True)


def test_an_agent_that_has_no_such_engine_and_a_machine_that_is_gone_are_certain():
    assert sign_of(R0, {"i0": heard("i0")}, {}).certain
    assert sign_of(R0, {}, {}) == Sign("the machine of i0 is gone", certain=True)


def test_who_is_silent_is_lost_at_once_where_the_router_misses_it_too():
    assert not sign_of(R0, {"i0": silent("i0")}, {}).certain
    assert sign_of(R0, {"i0": silent("i0")}, {"r0": "connection refused"}).certain


def test_who_is_looked_for_for_the_first_time_is_not_missed_yet():
    """After a controller has begun anew: else its replicas would be called lost, and taken out of the routes."""
    pending = replace(silent("i0"), pending=True)
    pulse = Pulse()
    for _ in range(5):
        assert pulse.felt("r0", sign_of(R0, {"i0": pending}, {})).vital is Vital.UNSURE
    assert not pulse.missing
    assert pulse.felt("r0", sign_of(R0, {"i0": silent("i0")}, {})).vital is Vital.UNSURE
    assert sign_of(R0, {"i0": pending}, {"r0": "connection refused"}) == Sign("i0: no answer", certain=True)


def test_a_replica_on_two_machines_needs_both():
    ready = heard("i1", EngineHealth("r2", "ready"))
    assert sign_of(R2, {"i1": ready, "i2": heard("i2")}, {}) == GOOD
    assert sign_of(R2, {"i1": ready, "i2": silent("i2")}, {}) == Sign("i2: no answer")
