"""Which instances of the plan should rest now. Pure: what is wanted follows from one look, and is wanted at the next.

In this order: a smaller budget by the clock or prices above it make the fleet smaller, whatever else holds; room in the
budget, or requests that come, make it larger; a lull makes it smaller, where that is allowed. So much is never released
that nothing serves any more: the cheapest machines that can serve stay, and that they cost too much is said elsewhere.

A lull ends a machine once it has lasted for as long as the machine takes to start: who gives up what it would cost to
come back no sooner than so much was spent on keeping it pays at most twice what somebody who knew the future would
(the ski-rental rule).
"""

from collections.abc import Iterable
from dataclasses import replace

from planner.shrinking import Serves, least_for, most_within
from thunderctl.controller.sizing.swaps import swap
from thunderctl.controller.sizing.view import Rules, View
from thunderctl.fleet.resting import Rest, RestCause, Resting

PAYS_TWICE = 2.0
"""Room in the budget has to last for so many times what a start takes, before a machine is taken back for it."""


def sized(view: View, rules: Rules) -> Resting:
    """What should rest; what is stored where nothing is to change."""
    tidy = replace(view, resting=tidied(view))
    for look in (_replaced, _within_budget, _taken_back, _spared):
        if (found := look(tidy, rules)) is not None:
            return found
    return tidy.resting


def tidied(view: View) -> Resting:
    """Without what is not of the plan any more, and what came back."""
    ready = {one.id for one in view.parts if one.ready}
    known = {one.id for one in view.parts}
    instances = {name: rest for name, rest in view.resting.instances.items() if name in view.at_rest}
    woken = {name: why for name, why in view.resting.woken.items() if name in known and name not in ready}
    return replace(view.resting, instances=instances, woken=woken)


def _replaced(view: View, _rules: Rules) -> Resting | None:
    """Machines that are gone, and were let go for cheaper ones."""
    gone = [
        name
        for name, rest in view.resting.instances.items()
        if rest.cause is RestCause.SWAP and name not in view.leased
    ]
    return _woken(view, gone, "a cheaper machine takes its place") if gone else None


def _within_budget(view: View, rules: Rules) -> Resting | None:
    room = room_to_stay(view, rules)
    by_clock = view.budget.lowered(rules.lead_s)
    if not by_clock and (view.over_since is None or view.at - view.over_since < rules.over_s):
        return None
    if view.cost_of(view.awake) <= room + 1e-9:
        return None
    kept = _kept(view, room)
    if not by_clock and (found := swap(view, kept, room)):
        return _rested(view, [found.instance], RestCause.SWAP, found.reason)
    if kept == view.awake:
        return None
    until = view.budget.rises_at(rules.lead_s) if by_clock else None
    return _rested(
        view,
        view.awake - kept,
        RestCause.WINDOW if by_clock else RestCause.PRICE,
        _why_too_dear(view, rules, kept),
        until=until,
    )


def room_to_stay(view: View, rules: Rules) -> float:
    """$/h for the machines of the plan, until what is to go by then is gone."""
    return view.budget.least(rules.lead_s) - view.beside_usd_per_hour


def room_to_come_back(view: View, rules: Rules, some: frozenset[str], share: float = 1.0) -> float:
    """$/h for the machines of the plan with some that rest now: of a share of the budget, for long enough."""
    within_s = max(rules.lead_s, PAYS_TWICE * view.start_s(some))
    transfer = max(view.transfer_usd_per_hour, view.planned_transfer_usd_per_hour)
    return view.budget.least(within_s) * share - transfer - view.outside_usd_per_hour - view.going_usd_per_hour


def lull_of(view: View, rules: Rules) -> float:
    """Seconds with few requests after which machines go."""
    return max(rules.quiet_s, rules.payback * view.start_s(view.awake))


def _kept(view: View, room_usd: float) -> frozenset[str]:
    """The most that the budget holds of what is there, then of what is wanted; the cheapest that serves, if nothing."""
    prices, there = view.usd_per_hour, view.awake & view.leased
    kept = most_within(there, prices, room_usd, view.serves)
    if kept is None:
        return least_for(there, prices, 0.0, view.serves) or least_for(view.awake, prices, 0.0, view.serves) or there
    return most_within(view.awake, prices, room_usd, view.serves, keep=kept) or kept


def _taken_back(view: View, rules: Rules) -> Resting | None:
    """What the budget has room for, for long enough; where the fleet follows the rate, as much as that asks for."""
    by_price = {name for name, rest in view.resting.instances.items() if rest.cause is RestCause.PRICE}
    swapped = {name for name, rest in view.resting.instances.items() if rest.cause is RestCause.SWAP}
    soon = view.at_rest - by_price - swapped
    rested_long = view.at - view.resting.changed_at >= rules.cool_down_s
    for some, share in ((soon, 1.0), (view.at_rest - swapped, 1 - rules.spare_share)):
        if some and (share == 1 or rested_long) and (found := _wanted_back(view, rules, some, share)):
            return _woken(view, found, _why_back(view, rules))
    return None


def _wanted_back(view: View, rules: Rules, some: frozenset[str], share: float) -> frozenset[str]:
    room = room_to_come_back(view, rules, some, share)
    together, prices, awake = view.awake | some, view.usd_per_hour, view.awake
    wanted = None
    if rules.scale:
        if view.load_rps is None or not is_busy(view, rules):
            return frozenset()
        wanted = least_for(together, prices, view.load_rps / rules.aim_share, view.serves, keep=awake)
    if wanted is None or view.cost_of(wanted) > room + 1e-9:
        wanted = most_within(together, prices, room, view.serves, keep=awake)
    if wanted is None or view.serves(wanted) <= view.serves(awake):
        return frozenset()
    return wanted - awake


def is_busy(view: View, rules: Rules) -> bool:
    few = view.replicas(view.awake) < rules.min_replicas
    return few or (view.load_rps or 0.0) > rules.busy_share * view.serves(view.awake)


def _spared(view: View, rules: Rules) -> Resting | None:
    """What a lull leaves without work, of a fleet that is whole and was not changed of late."""
    whole = all(one.ready for one in view.parts if one.id in view.awake)
    if not rules.scale or not whole or view.at - view.resting.changed_at < rules.cool_down_s:
        return None
    lull_s = lull_of(view, rules)
    peak_rps = view.peaks.over(view.at, lull_s)
    if peak_rps is None or peak_rps >= rules.aim_share * view.serves(view.awake):
        return None
    kept = least_for(view.awake, view.usd_per_hour, peak_rps / rules.aim_share, _at_least(view, rules.min_replicas))
    if kept is None or kept == view.awake:
        return None
    left_rps = view.serves(kept)
    why = (
        f"no more than {peak_rps:.3g} requests/s came in {lull_s / 60:.0f} min, and {left_rps:.3g} can be served "
        f"without it, for ${view.cost_of(view.awake) - view.cost_of(kept):.3f}/h less"
    )
    return _rested(view, view.awake - kept, RestCause.RATE, why)


def _at_least(view: View, replicas: int) -> Serves:
    """Nothing is served by fewer replicas."""
    return lambda parts: view.serves(parts) if view.replicas(parts) >= replicas else 0.0


def _rested(view: View, parts: Iterable[str], cause: RestCause, reason: str, *, until: float | None = None) -> Resting:
    going = set(parts)
    more = {one.id: Rest(one.offer_id, cause, reason, view.at, until) for one in view.parts if one.id in going}
    woken = {name: why for name, why in view.resting.woken.items() if name not in going}
    return Resting({**view.resting.instances, **more}, woken, view.at)


def _woken(view: View, parts: Iterable[str], reason: str) -> Resting:
    back = set(parts)
    left = {name: rest for name, rest in view.resting.instances.items() if name not in back}
    return Resting(left, {**view.resting.woken, **dict.fromkeys(sorted(back), reason)}, view.at)


def _why_too_dear(view: View, rules: Rules, kept: frozenset[str]) -> str:
    before_rps, left_rps = view.serves(view.awake), view.serves(kept)
    share = left_rps / before_rps if before_rps > 0 else 0.0
    costs = view.cost_of(view.awake) + view.beside_usd_per_hour
    least = view.budget.least(rules.lead_s)
    begins = "" if view.budget.now_usd_per_hour <= least else " soon"
    return (
        f"the fleet costs ${costs:.3f}/h and the budget is{begins} ${least:.3f}/h; of all that could go, this costs "
        f"the least: {share:.0%} of {before_rps:.3g} requests/s are left, for ${view.cost_of(kept):.3f}/h"
    )


def _why_back(view: View, rules: Rules) -> str:
    if rules.scale and view.load_rps is not None:
        return f"{view.load_rps:.3g} requests/s come, and {view.serves(view.awake):.3g} can be served without it"
    return f"the budget of ${view.budget.now_usd_per_hour:.3f}/h has room for it"
