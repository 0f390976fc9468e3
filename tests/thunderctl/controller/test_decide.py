"""Decisions: doing them reaches what is wanted, and then there is nothing to do."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioners.leases.journal import UNSEEN, Cause, LeaseState
from provisioners.leases.limits import Due
from tests.thunderctl.controller.situations import (
    ALIVE,
    LOST,
    NOW,
    PLAN,
    REPLICAS,
    UNSURE,
    at_end,
    done,
    limit,
    resting,
    row,
    situation,
)
from thunderctl.controller.adapting.assessment import Proposal
from thunderctl.controller.decide import decide, leaving_of, serving_of
from thunderctl.controller.situation import Routing, Vital
from thunderctl.controller.steps import Close, Drain, Release, Replace, Route, Stop, together
from thunderctl.fleet.resting import Resting
from thunderctl.store.values import DeploymentState

INSTANCES = ("i0", "i1", "i2")
CONDITIONS = st.sampled_from([ALIVE, LOST, UNSURE])
STATES = st.sampled_from(list(LeaseState))
NAMES = st.sets(st.sampled_from(INSTANCES))
CAUSES = st.sampled_from([None, *Cause])
RESTS = st.just(Resting()) | NAMES.map(lambda names: resting(*names))


@st.composite
def situations(draw):
    """Anything that can be: half-drained machines, lost replicas, a router that is gone, another plan on its way,
    routes that are behind the one that is wanted, phases that would suit better."""
    rows = tuple(
        row(name, draw(STATES), attempts=draw(st.integers(0, 1)), drained_for=draw(CAUSES)) for name in INSTANCES
    )
    running = draw(st.booleans())
    serving, states = DeploymentState.SERVING, (DeploymentState.STARTING, DeploymentState.STOPPING)
    state, plan_id = (
        draw(st.sampled_from([serving, serving, *states])),
        draw(st.sampled_from([PLAN.plan_id, "another"])),
    )
    routing = Routing(
        PLAN,
        frozenset(draw(st.sets(st.sampled_from(REPLICAS), min_size=1))),
        draw(st.none() | st.just({}) | st.dictionaries(st.sampled_from(REPLICAS), st.integers(0, 3)))
        if running
        else {},
        running,
        draw(st.booleans()) if running else True,
        draw(st.booleans()) if (state, plan_id) == (serving, PLAN.plan_id) else False,
    )
    ends = draw(NAMES)
    listed = frozenset(f"l-{name}" for name in draw(NAMES))
    return situation(
        *(one for one in rows if one.state.may_cost),
        routing=draw(st.sampled_from([routing, routing, None])),
        conditions={name: draw(CONDITIONS) for name in REPLICAS},
        state=state,
        plan_id=plan_id,
        replaced=draw(st.sampled_from([(), ("i0",)])),
        lost=tuple(one for one in rows if not one.state.may_cost and draw(st.booleans())),
        limits=(limit(draw(st.sampled_from(list(Due))), *sorted(ends)),) if ends else (),
        problems={f"l-{name}": "outbid" for name in draw(NAMES)},
        distrust=draw(st.sampled_from([{}, {"vast": "410 Gone"}])),
        listed=listed,
        moved=frozenset(draw(st.sets(st.sampled_from(REPLICAS)))),
        resting=draw(RESTS),
        wanted_rest=draw(st.none() | RESTS),
        proposal=draw(st.none() | st.just(Proposal(NOW, 1, PLAN, (), "it pays"))),
    )


def carried_out(now):
    """Every step of one look after the other, until a look finds nothing; how the world is then."""
    for _ in range(6):
        for step in decide(now):
            now = done(now, step)
        now = replace(now, drained_s=dict.fromkeys((r.lease_id for r in now.rows), 1e9))  # requests had their time
        if not decide(now):
            return now
    raise AssertionError(f"it never comes to rest: {decide(now)}")


@given(situations())
def test_doing_the_steps_leaves_nothing_to_do_and_what_has_to_go_is_going(now):
    leaving = leaving_of(now)
    wanted_gone = leaving.reasons.keys() - {one for one, why in leaving.causes.items() if why is Cause.REST}
    after = carried_out(now)
    states = {one.lease_id: one.state for one in after.rows}
    assert all(states[one] is LeaseState.DELETING for one in wanted_gone)
    assert not leaving_of(after).reasons
    if after.routing is not None and after.state is DeploymentState.SERVING and serving_of(after, leaving_of(after)):
        assert after.routed == serving_of(after, leaving_of(after))


@given(situations())
def test_no_request_goes_to_a_machine_that_is_asked_to_go_while_there_is_time(now):
    in_time = replace(now, limits=tuple(one for one in now.limits if one.due is not Due.RELEASE), drained_s={})
    rows = {one.lease_id: one for one in in_time.rows}
    for step in decide(in_time):
        if isinstance(step, Release):
            assert not in_time.replicas_on(rows[step.lease_id]) & in_time.routed


@given(situations())
def test_nobody_who_is_lost_gets_requests_and_nobody_else_is_left_out(now):
    serves = serving_of(now, leaving_of(now))
    for step in decide(now):
        if isinstance(step, Route):
            assert not serves or all(now.conditions[one].vital is not Vital.LOST for one in step.replicas)
            alive = {one for one in now.routed if now.conditions[one].vital is not Vital.LOST}
            leaving = leaving_of(now).reasons
            gone = {one for r in now.rows if r.lease_id in leaving for one in now.replicas_on(r)}
            assert alive - gone <= step.replicas


@given(situations())
def test_while_another_plan_is_on_its_way_replicas_only_leave(now):
    for step in decide(replace(now, plan_id="another", replaced=())):
        if isinstance(step, Route):
            assert now.routing is not None
            assert step.replicas <= now.routing.replicas


def test_a_twin_that_appears_late_goes_and_takes_nobody_out_of_the_routes():
    """A create got no answer and was asked for again; the machine of the first ask is older, and nothing runs on it."""
    asked_at = NOW - 1300
    made = row("i0", LeaseState.CREATED, lease_id="l-twin")
    twin = replace(made, provider_id="m-twin", created_at=asked_at, sent_at=asked_at)
    now = situation(twin, *(row(name) for name in ("i0", "i1", "i2")), worked_on_at=NOW - 100)
    assert decide(now) == (Drain("l-twin", "it was not ready within 1200 s"),)
    draining = done(now, *decide(now))
    assert decide(draining) == (Release("l-twin", "it was not ready within 1200 s"),)
    assert decide(carried_out(draining)) == ()


def test_where_all_is_well_nothing_is_done():
    assert decide(situation()) == ()


def test_a_replica_that_is_lost_is_left_out_with_the_reason():
    now = situation(conditions={"r0": LOST, "r1": ALIVE, "r2": ALIVE})
    assert decide(now) == (Route(frozenset({"r1", "r2"}), "r0 left out: i0: the agent can't be reached"),)


def test_a_replica_that_is_back_is_taken_in_again():
    now = situation(routing=Routing(PLAN, frozenset({"r1", "r2"})))
    assert decide(now) == (Route(frozenset(REPLICAS), "r0 back"),)


@pytest.mark.parametrize("replicas", [REPLICAS, ("r1", "r2")])
def test_one_that_was_missed_once_or_answers_for_the_first_time_stays_where_it_is(replicas):
    conditions = {"r0": UNSURE, "r1": ALIVE, "r2": ALIVE}
    assert decide(situation(conditions=conditions, routing=Routing(PLAN, frozenset(replicas)))) == ()


def test_a_replica_that_is_reached_elsewhere_is_told_to_the_router():
    assert decide(situation(moved=frozenset({"r0"}))) == (Route(frozenset(REPLICAS), "r0 reached elsewhere"),)


def test_where_nobody_answers_the_routes_stay():
    assert decide(situation(conditions=dict.fromkeys(REPLICAS, LOST))) == ()


DEAF = {"conditions": dict.fromkeys(REPLICAS, LOST)}
"""The controller hears no agent, as its own network may be broken."""


@pytest.mark.parametrize(("ends", "left"), [(("i1",), {"r0", "r1"}), (("i0",), {"r2"}), (("i0", "i1"), set())])
def test_where_nobody_answers_and_some_leave_the_router_tries_the_others(ends, left):
    now = situation(limits=at_end(*ends), **DEAF)
    *drains, last = decide(now)
    assert drains == [Drain(f"l-{name}", f"The lease of {ends[0]} ends.", Cause.TIME) for name in ends]
    assert last == Route(frozenset(left), last.reason) if left else last == Close("The lease of i0 ends.")


def test_a_router_that_may_reach_somebody_is_not_stopped_when_those_who_leave_have_left():
    now = situation(row("i0", LeaseState.DRAINING), row("i1"), row("i2"), drained_s={"l-i0": 121.0}, **DEAF)
    assert [type(step) for step in decide(now)] == [Route, Release]
    left = done(now, decide(now)[0])
    assert [type(step) for step in decide(left)] == [Release]
    assert decide(done(left, decide(left)[0])) == ()


def test_where_nobody_answers_and_the_others_machines_are_gone_the_router_closes():
    now = situation(row("i0"), row("i1", LeaseState.DELETING), limits=at_end("i0"), **DEAF)
    assert Close("The lease of i0 ends.") in decide(now)


def test_a_router_that_died_is_started_again():
    (step,) = decide(situation(routing=Routing(PLAN, frozenset(REPLICAS), running=False)))
    assert step == Route(frozenset(REPLICAS), "no router was running")


def test_a_router_that_is_not_wanted_yet_is_not_started():
    routing = Routing(PLAN, frozenset(REPLICAS), running=False)
    assert decide(situation(state=DeploymentState.STARTING, routing=routing)) == ()


def test_a_down_that_was_cut_off_is_gone_on_with_and_requests_under_way_have_their_time():
    now = situation(row("i0"), row("i1", LeaseState.CREATED), state=DeploymentState.STOPPING)
    assert decide(now) == (Drain("l-i0", "down", Cause.DOWN), Drain("l-i1", "down"), Close("down"))
    closed = Routing(PLAN, frozenset(REPLICAS), {"r0": 1}, admits=False)
    draining = situation(row("i0", LeaseState.DRAINING, reason="down"), state=DeploymentState.STOPPING, routing=closed)
    assert decide(draining) == ()
    ended = replace(draining, routing=replace(closed, in_flight={}))
    assert decide(ended) == (Release("l-i0", "down"), Stop("down"))
    gone = replace(draining, rows=(row("i0", LeaseState.DELETING),), routing=Routing(PLAN, frozenset(REPLICAS)))
    assert decide(gone) == (Stop("nobody is left to serve"),), "whatever its agents still say"


def test_a_machine_that_is_of_no_use_drains_for_that_and_not_for_its_end():
    now = situation(limits=at_end("i0", "i1"), problems={"l-i0": "outbid"})
    assert decide(now)[:2] == (Drain("l-i0", "outbid"), Drain("l-i1", "The lease of i0 ends.", Cause.TIME))
    unready = situation(row("i0", LeaseState.CREATED), limits=at_end("i0"), routing=None)
    assert decide(unready) == (Drain("l-i0", "The lease of i0 ends."),)


def test_money_that_was_found_spent_at_once_cuts_no_request_off():
    spent = replace(limit(Due.RELEASE, "i0"), cause=Cause.MONEY, notice_s=100.0)
    now = situation(row("i0", LeaseState.DRAINING), limits=(spent,), routing=Routing(PLAN, frozenset(), {"r0": 1}))
    now = replace(now, plan_id="another")
    assert decide(now) == ()
    assert decide(replace(now, drained_s={"l-i0": 99.0})) == ()
    assert decide(replace(now, drained_s={"l-i0": 100.0}))[0] == Release("l-i0", "")


def test_a_lease_that_ends_is_drained_then_out_of_the_routes_then_released():
    now = situation(limits=at_end("i1"))
    drain, route = decide(now)
    assert drain == Drain("l-i1", "The lease of i1 ends.", Cause.TIME)
    assert route == Route(frozenset({"r0", "r1"}), "r2 left out: The lease of i1 ends")
    drained = done(done(now, drain), route)
    assert decide(drained) == (Release("l-i1", "The lease of i1 ends."),)


def test_requests_under_way_are_waited_for_but_not_beyond_the_lease():
    draining = row("i0", LeaseState.DRAINING)
    routing = Routing(PLAN, frozenset({"r2"}), {"r1": 2})
    now = situation(draining, row("i1"), row("i2"), routing=routing)
    assert decide(now) == ()
    overdue = replace(now, limits=(limit(Due.RELEASE, "i0"),))
    assert decide(overdue) == (Release("l-i0", ""),)
    assert decide(replace(now, drained_s={"l-i0": 121.0})) == (Release("l-i0", ""),)


def test_a_router_that_can_not_be_asked_may_still_have_requests_there():
    routing = Routing(PLAN, frozenset({"r2"}), None)
    assert decide(situation(row("i0", LeaseState.DRAINING), row("i1"), row("i2"), routing=routing)) == ()


def all_ending():
    """Every lease ends, and all is drained; two requests are under way on one machine."""
    now = situation(limits=at_end("i0", "i1", "i2"), routing=Routing(PLAN, frozenset(REPLICAS), {"r0": 2}))
    for step in decide(now):
        now = done(now, step)
    return now


def test_when_every_lease_ends_the_router_lets_nobody_in_before_the_machines_go():
    now = situation(limits=at_end("i0", "i1", "i2"), routing=Routing(PLAN, frozenset(REPLICAS), {"r0": 2}))
    assert [type(step) for step in decide(now)] == [Drain, Drain, Drain, Close]


def test_the_router_stops_once_what_is_under_way_has_ended():
    now = all_ending()
    steps = decide(now)
    assert [step.lease_id for step in steps] == ["l-i1", "l-i2"], "the others are done with"
    for step in steps:
        now = done(now, step)
    assert decide(now) == ()
    ended = replace(now, routing=replace(now.routing, in_flight={}))
    assert [type(step) for step in decide(ended)] == [Release, Stop]


@pytest.mark.parametrize(
    "known", [{"limits": (limit(Due.RELEASE, "i0", "i1", "i2"),)}, {"drained_s": dict.fromkeys(("l-i0",), 121.0)}]
)
@pytest.mark.parametrize("routing", [{}, {"in_flight": None}, {"in_flight": None, "admits": True}])
def test_the_router_stops_when_their_time_is_up_whatever_it_says(known, routing):
    now = all_ending()
    others_gone = {"rows": now.rows[:1], "conditions": dict.fromkeys(REPLICAS, LOST)}
    now = replace(now, routing=replace(now.routing, **routing), **others_gone, **known)
    assert [type(step) for step in decide(now)][-2:] == [Release, Stop]


def test_a_router_that_was_closed_is_opened_again_when_somebody_can_serve():
    now = situation(routing=Routing(PLAN, frozenset({"r0"}), admits=False))
    assert decide(now) == (Route(frozenset(REPLICAS), "the router let nobody in; r1 back; r2 back"),)
    nobody = replace(now, conditions=dict.fromkeys(REPLICAS, LOST), rows=())
    assert decide(nobody) == (Stop("nobody is left to serve"),)


def test_a_machine_of_no_use_goes_unless_the_listing_that_says_so_is_not_to_be_trusted():
    now = situation(problems={"l-i0": "outbid"})
    assert Drain("l-i0", "outbid") in decide(now)
    assert decide(replace(now, distrust={"vast": "page 2 can't be read"})) == ()


def test_limits_do_not_wait_for_a_listing():
    assert Drain("l-i1", "The lease of i1 ends.", Cause.TIME) in decide(
        situation(limits=at_end("i1"), distrust={"vast": "410"})
    )


def test_a_machine_that_nobody_made_ready_in_time_goes():
    waiting = row("i0", LeaseState.CREATED)
    assert decide(situation(waiting, routing=None, at=waiting.sent_at + 1199)) == ()
    late = situation(waiting, routing=None, at=waiting.sent_at + 1201)
    assert decide(late) == (Drain("l-i0", "it was not ready within 1200 s"),)


def test_a_machine_that_was_being_made_ready_has_its_time_from_when_nobody_did_so_any_more():
    """An `up` waits for one that gets on, and may be killed meanwhile."""
    waiting = row("i0", LeaseState.CREATED)
    killed_at = waiting.sent_at + 5000
    assert decide(situation(waiting, routing=None, at=killed_at + 1199, worked_on_at=killed_at)) == ()
    late = situation(waiting, routing=None, at=killed_at + 1201, worked_on_at=killed_at)
    assert decide(late) == (Drain("l-i0", "it was not ready within 1200 s"),)


def test_what_was_asked_to_go_and_is_listed_still_is_asked_again():
    going = row("i0", LeaseState.DELETING)
    assert decide(situation(going, routing=None)) == ()
    assert decide(situation(going, routing=None, listed=frozenset({"l-i0"}))) == (Release("l-i0", ""),)


def test_what_refused_to_go_is_asked_again_though_it_is_not_listed():
    refused = row("i0", LeaseState.DELETING, reason="down; release refused: 500")
    assert decide(situation(refused, routing=None)) == (Release("l-i0", refused.reason),)
    assert decide(situation(replace(refused, attempts=0, reason=""), routing=None)) == (Release("l-i0", ""),)


GONE = row("i2", LeaseState.GONE, reason="outbid", expires_at=NOW + 10 * 3600)
"""A machine that was lost ten hours before its end."""
WITHOUT = {"conditions": {"r0": ALIVE, "r1": ALIVE, "r2": LOST}, "routing": Routing(PLAN, frozenset({"r0", "r1"}))}


def short(**known):
    return situation(
        row("i0", expires_at=NOW + 8 * 3600),
        row("i1", expires_at=NOW + 9 * 3600),
        **{**WITHOUT, "lost": (GONE,), **known},
    )


def test_a_machine_that_was_lost_is_replaced_for_as_long_as_the_others_have_left():
    assert decide(short()) == (Replace(("i2",), "i2 is gone: outbid", NOW + 8 * 3600),)


def test_a_machine_that_is_still_being_deleted_makes_no_replacement_short():
    deleting = replace(row("i2", LeaseState.DELETING, expires_at=NOW - 60), lease_id="l-old")
    before = short()
    (found,) = (one for one in decide(replace(before, rows=(*before.rows, deleting))) if isinstance(one, Replace))
    assert found.until == NOW + 8 * 3600


def test_an_up_that_died_while_it_replaced_a_machine_is_gone_on_with():
    halfway = short(plan_id="amended", replaced=("i2",), lost=())
    assert decide(halfway) == (Replace(("i2",), "i2 was replaced and does not serve yet", NOW + 8 * 3600),)
    (both,) = decide(replace(halfway, lost=(GONE,)))
    assert both.instances == ("i2",)


def test_each_machine_that_was_lost_is_a_step_of_its_own():
    """They wait for different reasons."""
    both = short(lost=(GONE, row("i1", LeaseState.GONE, reason="host died")), rows=(row("i0"),))
    found = [step for step in decide(both) if isinstance(step, Replace)]
    assert [(one.instances, one.reason) for one in found] == [
        (("i1",), "i1 is gone: host died"),
        (("i2",), "i2 is gone: outbid"),
    ]


def test_what_is_being_replaced_is_not_begun_again_and_another_is_beside_it():
    both = short(lost=(GONE, row("i1", LeaseState.GONE)), rows=(row("i0"),))
    at_it = replace(both, replacing=frozenset({"i1"}))
    assert [one.instances for one in decide(at_it) if isinstance(one, Replace)] == [("i2",)]
    halfway = short(plan_id="amended", replaced=("i2",), lost=(), replacing=frozenset({"i2"}))
    assert decide(halfway) == ()


def test_what_an_up_that_died_was_making_ready_is_gone_on_with_once_nobody_is_at_it():
    left = short(lost=())
    booting = replace(row("i2", LeaseState.CREATED, created_at=NOW - 300), sent_at=NOW - 300)
    left = replace(left, rows=(*left.rows, booting))
    reason = "i2 was leased and is not ready, and nobody goes on with it"
    assert [(one.instances, one.reason) for one in decide(left)] == [(("i2",), reason)]
    assert decide(replace(left, replacing=frozenset({"i2"}))) == ()
    assert decide(replace(left, worked_on_at=NOW - 10)) == (), "a command has only just ended"
    assert decide(replace(left, replaces=False)) == ()
    beside = replace(left, worked_on_at=NOW, replacing=frozenset({"i7"}))
    assert [one.instances for one in decide(beside)] == [("i2",)], "who is at work there is at another one"


def test_where_machines_were_replaced_replicas_come_back():
    halfway = short(plan_id="amended", replaced=("i2",), replaces=False)
    back = replace(halfway, routing=Routing(PLAN, frozenset({"r1"})))
    assert decide(back) == (Route(frozenset({"r0", "r1"}), "r0 back"),)


@pytest.mark.parametrize(
    "known",
    [
        {"replaces": False},
        {"usd_per_hour": Decimal("5.01")},
        {"distrust": {"vast": "410 Gone"}},
        {"limits": (limit(Due.WARN, "i0"),)},
        {"plan_id": "another"},
        {"state": DeploymentState.STARTING},
        {"conditions": dict.fromkeys(REPLICAS, LOST), "silent": frozenset({"l-i0"})},
        {"lost": (replace(GONE, expires_at=NOW + 60),)},
        {"lost": (replace(GONE, expires_at=NOW - 60),)},
    ],
    ids=lambda known: "-".join(known),
)
def test_nothing_is_leased_where_it_is_not_wanted_not_safe_or_not_worth_it(known):
    assert not [step for step in decide(short(**known)) if isinstance(step, Replace)]


IN_10_H = NOW + 10 * 3600
ALL_LOST = tuple(
    row(name, LeaseState.GONE, reason="its provider calls it terminated", expires_at=IN_10_H, created_at=NOW - 7200)
    for name in ("i0", "i1", "i2")
)


def all_gone(**known):
    """Every machine was lost at once, ten hours before its end."""
    nobody = {"rows": (), "lost": ALL_LOST, "conditions": dict.fromkeys(REPLICAS, LOST), "usd_per_hour": Decimal(0)}
    return replace(situation(), **{**nobody, **known})


def replaced(now):
    return [one for one in decide(now) if isinstance(one, Replace)]


def test_a_fleet_that_is_gone_as_a_whole_is_leased_anew_up_to_the_end_that_it_had():
    (one,) = together(replaced(all_gone()))
    assert (one.instances, one.until) == (("i0", "i1", "i2"), IN_10_H)
    stopped = all_gone(routing=Routing(PLAN, frozenset(REPLICAS), running=False))
    assert len(replaced(stopped)) == 3, "the router ends with the last machine that was of no use"


def test_while_a_fleet_that_was_lost_comes_back_what_is_left_half_done_is_gone_on_with():
    booting = replace(row("i0", LeaseState.CREATED, created_at=NOW - 300, expires_at=IN_10_H), sent_at=NOW - 300)
    coming = all_gone(rows=(booting,), lost=ALL_LOST[1:], silent=frozenset({"l-i0"}))
    assert [one.instances for one in replaced(coming)] == [("i0",), ("i1",), ("i2",)]
    ready = replace(booting, state=LeaseState.READY)
    at_it = replace(coming, rows=(ready,), replacing=frozenset({"i0"}))
    assert [one.instances for one in replaced(at_it)] == [("i1",), ("i2",)], "its agent is on its way"


def test_a_machine_that_is_gone_is_replaced_though_nobody_serves_where_the_others_agents_answer():
    """Their engines are dead, which is known of them: nothing is hidden by a network that is broken."""
    dead = all_gone(rows=(row("i0"), row("i1")), lost=ALL_LOST[2:])
    assert [one.instances for one in replaced(dead)] == [("i2",)]
    assert not replaced(replace(dead, silent=frozenset({"l-i1"})))


@pytest.mark.parametrize(
    "known",
    [
        {"rows": (row("i0"),), "lost": ALL_LOST[1:], "silent": frozenset({"l-i0"})},
        {"distrust": {"vast": "the listing is empty while 3 leases run"}},
        {"left_usd": 3.0},
        {"unwatched": frozenset({"l-i0"})},
        {"lost": (replace(ALL_LOST[0], reason="forgotten by me"), *ALL_LOST[1:])},
        {"lost": (replace(ALL_LOST[0], state=LeaseState.LOST, reason=UNSEEN), *ALL_LOST[1:])},
        {"lost": tuple(replace(one, expires_at=NOW + 60) for one in ALL_LOST)},
        {"replaces": False},
        {"state": DeploymentState.STOPPING},
    ],
    ids=lambda known: "-".join(known),
)
def test_no_fleet_is_leased_anew_that_may_be_there_or_ended_for_its_time_or_its_money(known):
    assert not replaced(all_gone(**known))


NARROWED = replace(PLAN, replicas=tuple(one for one in PLAN.replicas if one.id != "r2"))
"""After `drain r2`: its machines are leased, and none of the plan's replicas is on them."""


def test_requests_of_replicas_that_were_drained_before_are_waited_for_when_their_machine_goes():
    routing = Routing(NARROWED, frozenset({"r0", "r1"}), {"r2": 1})
    ends = {"limits": at_end("i2"), "conditions": {"r0": ALIVE, "r1": ALIVE}}
    now = situation(row("i0"), row("i1"), row("i2", LeaseState.DRAINING), routing=routing, **ends)
    assert decide(now) == ()
    assert decide(replace(now, routing=replace(routing, in_flight=None))) == ()
    assert decide(replace(now, drained_s={"l-i2": 121.0})) == (Release("l-i2", ""),)
    others = replace(now, routing=replace(routing, in_flight={"r0": 3}))
    assert decide(others) == (Release("l-i2", ""),)
    stopped = replace(now, routing=replace(routing, running=False, in_flight={}), conditions={"r0": LOST, "r1": LOST})
    assert decide(stopped) == (Release("l-i2", ""),)


def test_a_machine_of_another_offer_does_not_carry_the_plans_replicas():
    other = replace(row("i0", LeaseState.DRAINING), offer_id="another")
    now = situation(other, row("i1"), row("i2"))
    assert serving_of(now, leaving_of(now)) == frozenset(REPLICAS)
