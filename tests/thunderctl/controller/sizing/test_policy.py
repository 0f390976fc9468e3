"""What should rest, by the clock, by prices and by the rate."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.shrinking import least_for
from tests.thunderctl.controller.sizing.views import (
    NOW,
    PRICE,
    RATE,
    START_S,
    SWAP,
    WINDOW,
    after,
    causes,
    part,
    quiet,
    settled,
    steady,
    view,
    window,
)
from thunderctl.controller.sizing.lulls import Peaks
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.view import Quote, Rules, is_over
from thunderctl.fleet.resting import Rest, Resting

OFF, ON = Rules(), Rules(scale=True)
HOUR = 3600.0


def resting(*names, cause=WINDOW, since=NOW - 10 * HOUR, changed_at=NOW - 10 * HOUR, **woken):
    return Resting({name: Rest(f"o-{name}", cause, "because", since) for name in names}, woken, changed_at)


def asleep_view(now, names, **known):
    return after(replace(now, **known), resting(*names, **({"cause": known["cause"]} if "cause" in known else {})))


# --- budgets by the clock


def test_machines_drain_before_a_smaller_budget_begins_and_the_best_of_what_fits_stays():
    parts = (part("i0", 1.0), part("i1", 2.0), part("i2", 2.0))
    now = view(*parts, rps=[1.0, 3.0, 2.0], budget=window(2.0, 200, 10 * HOUR))
    wanted = sized(now, OFF)
    assert causes(wanted) == {"i0": WINDOW, "i2": WINDOW}
    assert wanted.instances["i0"].until == NOW + 10 * HOUR
    assert "the budget is soon $2.000/h" in wanted.instances["i0"].reason
    assert "50% of 6 requests/s are left, for $2.000/h" in wanted.instances["i0"].reason


def test_long_before_it_begins_nothing_happens():
    assert sized(view(budget=window(1.0, 300, HOUR)), OFF) == Resting()


def test_when_it_is_over_and_not_before_all_that_fits_comes_back():
    now = after(view(budget=window(1.0, 0, HOUR)), resting("i1", "i2"))
    assert sized(now, OFF) == now.resting
    morning = replace(now, budget=steady(2.5))
    back = sized(morning, OFF)
    assert set(back.instances) == {"i2"}
    assert back.woken == {"i1": "the budget of $2.500/h has room for it"}
    assert settled(replace(now, budget=steady()), OFF).awake == {"i0", "i1", "i2"}


def test_room_that_does_not_last_for_twice_a_start_takes_nothing_back():
    short = window(1.0, 1.9 * START_S, 10 * HOUR)
    long = window(1.0, 2.1 * START_S, 10 * HOUR)
    now = after(view(budget=short), resting("i1", "i2"))
    assert sized(now, OFF) == now.resting
    assert not sized(replace(now, budget=long), OFF).instances


def test_a_budget_too_small_for_anything_leaves_the_cheapest_that_serves():
    parts = (part("i0", 3.0), part("i1", 2.0), part("i2", 1.0))
    now = view(*parts, rps=[9.0, 1.0, 0.0], budget=window(0.0, 0, HOUR))
    assert settled(now, OFF).awake == {"i1"}


def test_what_was_lost_is_not_kept_in_the_place_of_what_serves():
    lost = part("i0", 1.0, leased=False, ready=False)
    now = view(lost, part("i1", 1.0), rps=[5.0, 1.0], budget=window(1.0, 0, HOUR))
    assert set(sized(now, OFF).instances) == {"i0"}


# --- prices


def dear(**known):
    """Three machines, of which one got dearer than the budget holds, long ago."""
    parts = (part("i0", 2.0), part("i1", 2.0), part("i2", 5.0))
    return view(*parts, rps=[1.0, 2.0, 4.0], **{"budget": steady(8.0), "over_since": NOW - HOUR, **known})


def test_prices_past_the_budget_cost_as_little_goodput_as_they_can():
    wanted = sized(dear(), OFF)
    assert causes(wanted) == {"i0": PRICE}
    assert "86% of 7 requests/s are left" in wanted.instances["i0"].reason


@pytest.mark.parametrize("over_since", [None, NOW - 299])
def test_a_price_that_blinks_changes_nothing(over_since):
    assert sized(dear(over_since=over_since), OFF) == Resting()


def test_a_machine_that_prices_took_comes_back_when_there_is_room_to_spare_and_some_time_has_passed():
    gone = after(dear(over_since=None), resting("i0", cause=PRICE))
    assert sized(gone, OFF) == gone.resting
    assert sized(replace(gone, budget=steady(9.2)), OFF) == gone.resting, "no more than 5 % would be left"
    assert sized(replace(gone, budget=steady(9.5)), OFF).woken
    recent = replace(gone, budget=steady(9.5), resting=resting("i0", cause=PRICE, changed_at=NOW - 60))
    assert sized(recent, OFF) == recent.resting


def test_a_cheaper_machine_takes_the_place_of_one_that_got_dear_where_that_serves_more():
    offered = dear(quotes={"i2": Quote(3.0, START_S)})
    wanted = sized(offered, OFF)
    assert causes(wanted) == {"i2": SWAP}
    assert sized(replace(offered, resting=wanted), OFF) == wanted, "as long as it is there"
    gone = replace(after(offered, wanted), over_since=None)
    assert sized(gone, OFF).woken == {"i2": "a cheaper machine takes its place"}


@pytest.mark.parametrize(
    "known",
    [
        {"quotes": {"i2": Quote(4.5, START_S)}},
        {"quotes": {"i2": Quote(3.0, START_S)}, "left_s": START_S},
        {"quotes": {"i2": Quote(6.0, START_S)}},
    ],
    ids=["still too dear", "leases end first", "dearer"],
)
def test_nothing_is_swapped_where_it_does_not_fit_or_pay(known):
    assert causes(sized(dear(**known), OFF)) == {"i0": PRICE}


def test_the_only_machine_that_serves_is_not_swapped():
    alone = view(part("i0", 5.0), budget=steady(4.0), over_since=NOW - HOUR, quotes={"i0": Quote(1.0, START_S)})
    assert sized(alone, OFF) == Resting()


# --- the rate


def test_a_lull_releases_what_is_not_needed_and_says_what_that_saves():
    wanted = sized(view(**quiet(0.6)), ON)
    assert causes(wanted) == {"i1": RATE, "i2": RATE}
    assert wanted.instances["i1"].reason == (
        "no more than 0.6 requests/s came in 30 min, and 1 can be served without it, for $2.000/h less"
    )


@pytest.mark.parametrize(
    ("rules", "known"),
    [
        (OFF, quiet(0.1)),
        (ON, quiet(1.9)),
        (ON, quiet(0.1, hours=0.4)),
        (ON, {"load_rps": None, "peaks": Peaks()}),
        (replace(ON, min_replicas=3), quiet(0.0)),
        (replace(ON, payback=13.0), quiet(0.1)),
        (ON, {**quiet(0.1), "resting": Resting(changed_at=NOW - 60)}),
    ],
    ids=["off", "busy", "short", "unknown", "minimum", "shorter than a start pays", "just changed"],
)
def test_nothing_is_released_without_cause(rules, known):
    now = view(**known)
    assert sized(now, rules) == now.resting


def test_nothing_is_released_for_a_lull_while_something_is_missing():
    parts = (part("i0"), part("i1"), part("i2", leased=False, ready=False))
    assert sized(view(*parts, **quiet(0.1)), ON) == Resting()


def test_when_requests_come_as_much_is_taken_back_as_they_need():
    parts = tuple(part(f"i{n}") for n in range(5))
    now = after(view(*parts), resting("i1", "i2", "i3", "i4", cause=RATE))
    assert sized(replace(now, load_rps=0.79), ON) == now.resting
    busy = sized(replace(now, load_rps=1.5), ON)
    assert len(busy.woken) == 2
    assert "1.5 requests/s come, and 1 can be served without it" in set(busy.woken.values())


def test_the_budget_bounds_what_comes_back():
    now = after(view(), resting("i1", "i2", cause=RATE))
    assert len(sized(replace(now, load_rps=9.0, budget=steady(2.0)), ON).woken) == 1
    assert sized(replace(now, load_rps=9.0, budget=steady(1.0)), ON) == now.resting


def test_where_nobody_knows_what_comes_the_size_stays():
    now = after(view(), resting("i1", "i2", cause=RATE))
    assert sized(replace(now, load_rps=None), ON) == now.resting


def test_scaling_that_is_turned_off_takes_everything_back():
    assert settled(after(view(), resting("i1", "i2", cause=RATE)), OFF).awake == {"i0", "i1", "i2"}


def test_another_offers_instance_does_not_rest_and_what_is_back_is_noted():
    other = Resting({"i0": Rest("another", WINDOW, "", NOW)}, {"i1": "wanted", "gone": "wanted"}, NOW)
    assert sized(view(resting=other), OFF) == Resting({}, {}, NOW)


# --- whatever happens

CENTS = st.integers(0, 300).map(lambda cents: cents / 100)


@st.composite
def views(draw):
    names = [f"i{n}" for n in range(draw(st.integers(1, 5)))]
    parts = tuple(part(name, draw(CENTS), leased=draw(st.booleans()), ready=draw(st.booleans())) for name in names)
    rps = [draw(st.integers(0, 30)) / 10 for _ in names]
    at_rest = draw(st.sets(st.sampled_from(names)))
    cause = draw(st.sampled_from([WINDOW, PRICE, SWAP, RATE]))
    stored = resting(*at_rest, cause=cause, changed_at=NOW - draw(st.sampled_from([60.0, 1e5])))
    usual = draw(st.integers(0, 9))
    least = draw(st.integers(0, 9))
    budget = window(min(least, usual), draw(st.sampled_from([-1, 100, 1000])), 5 * HOUR, usual)
    load = draw(st.none() | st.integers(0, 60).map(lambda tenths: tenths / 10))
    return view(
        *parts,
        rps=rps,
        resting=stored,
        budget=budget,
        over_since=draw(st.sampled_from([None, NOW - HOUR])),
        transfer_usd_per_hour=draw(st.sampled_from([0.0, 0.5])),
        quotes={name: Quote(draw(CENTS), START_S) for name in draw(st.sets(st.sampled_from(names)))},
        **(quiet(load) if load is not None and draw(st.booleans()) else {"load_rps": load}),
    )


RULES = st.builds(Rules, scale=st.booleans(), min_replicas=st.integers(1, 3))


@settings(max_examples=60)
@given(views(), RULES)
def test_it_comes_to_rest(now, rules):
    end = settled(now, rules)
    assert sized(end, rules) == end.resting


@settings(max_examples=60)
@given(views(), RULES)
def test_the_budget_is_kept_or_the_cheapest_that_serves_is_left(now, rules):
    assume(SWAP not in causes(now.resting).values())  # what comes in its place has another price
    whole = replace(after(now, now.resting), quotes={})
    end = settled(replace(whole, over_since=NOW - HOUR), rules)
    costs = end.cost_of(end.awake) + end.transfer_usd_per_hour
    fits = costs <= end.budget.least(rules.lead_s) + 1e-6
    least = least_for(end.awake, end.usd_per_hour, 0.0, end.serves)
    assert fits or least in (end.awake, None)
    assert fits or not end.resting.woken or end.awake <= whole.awake, "nothing is leased past the budget"


@settings(max_examples=60)
@given(views(), RULES)
def test_something_always_serves(now, rules):
    serving = now.awake & now.leased
    if now.serves(serving) > 0:
        wanted = replace(now, resting=sized(now, rules))
        assert now.serves(wanted.awake & now.leased) > 0


@settings(max_examples=60)
@given(views(), RULES)
def test_a_lull_never_undercuts_the_minimum_nor_comes_too_soon_after_a_change(now, rules):
    wanted = sized(now, rules)
    new = {name for name, rest in wanted.instances.items() if name not in now.at_rest and rest.cause is RATE}
    if new:
        assert now.replicas(replace(now, resting=wanted).awake) >= rules.min_replicas
        assert NOW - now.resting.changed_at >= rules.cool_down_s
        assert rules.scale


@settings(max_examples=6)
@given(
    st.lists(st.integers(0, 30).map(lambda tenths: tenths / 10), min_size=4, max_size=24),
    st.integers(1, 3),
    st.sampled_from([60.0, 1800.0, 3 * HOUR]),
)
def test_a_load_that_comes_and_goes_does_not_make_the_fleet_flap(loads, min_replicas, period_s):
    """Two days; whatever the load does, releases for it are a cool-down apart, and so are those after a return."""
    rules = Rules(scale=True, min_replicas=min_replicas)
    now, peaks, released, changed = view(), Peaks(), [], -1e9
    for step in range(int(2 * 24 * HOUR / 300)):
        at = NOW + 300 * step
        load = loads[int(step * 300 / period_s) % len(loads)]
        peaks = peaks.noted(at, load)
        now = replace(now, at=at, budget=steady(at=at), load_rps=load, peaks=peaks)
        wanted = sized(now, rules)
        if len(wanted.instances) > len(now.resting.instances):
            assert at - changed >= rules.cool_down_s
            released.append(at)
        if wanted.instances != now.resting.instances:
            changed = at
        now = after(now, wanted)
        assert now.replicas(now.awake) >= min_replicas
    assert len(released) <= 2 * 24 * HOUR / rules.cool_down_s


def test_a_day_with_a_night_makes_the_fleet_smaller_once_and_larger_once():
    rules, now, changes, over = Rules(), view(), [], 0
    for step in range(24 * 60):
        at = NOW + 60 * step
        # 14 $/h, from the eighth hour to the nineteenth 1 $/h
        edges = [(NOW + 8 * HOUR, 1.0), (NOW + 19 * HOUR, 14.0)]
        here = 1.0 if 8 * HOUR <= at - NOW < 19 * HOUR else 14.0
        budget = replace(steady(14.0, at), steps=((at, here), *((when, usd) for when, usd in edges if when > at)))
        now = replace(now, at=at, budget=budget)
        over += is_over(now)
        wanted = sized(now, rules)
        if wanted.instances != now.resting.instances:
            changes.append((step, len(wanted.instances)))
        now = after(now, wanted)
    assert changes == [(8 * 60 - 4, 2), (19 * 60, 0)]
    assert over == 0
