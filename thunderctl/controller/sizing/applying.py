"""What was found for a fleet, put to it as it is now: machines come and go while that is worked out. Pure.

An answer about most of them is not thrown away for a few: what is gone is left out, money is counted again by what
things cost now, and nothing rests that is needed by now.
"""

from collections.abc import Iterable
from dataclasses import replace

from thunderctl.controller.sizing.policy import is_busy, lull_of, room_to_come_back, room_to_stay, tidied
from thunderctl.controller.sizing.view import Rules, View
from thunderctl.fleet.resting import Rest, RestCause, Resting

OLD_S = 60.0
"""What was asked longer ago says nothing any more: load and prices are others."""


def applied(asked: View, found: Resting, now: View, rules: Rules) -> Resting | None:
    """What should rest now, by what was found for the fleet as it was `asked` about; None where that says nothing.

    So it is where something was decided since: what was found was for the time before.
    """
    if asked.resting.changed_at != now.resting.changed_at or not 0 <= now.at - asked.at <= OLD_S:
        return None
    going = {name: rest for name, rest in found.instances.items() if name not in asked.resting.instances}
    coming = {name: why for name, why in found.woken.items() if name not in asked.resting.woken}
    tidy = replace(now, resting=tidied(now))
    if coming:
        return _woken(tidy, coming, rules, found.changed_at)
    return _rested(tidy, going, rules, found.changed_at) if going else tidy.resting


def _woken(view: View, coming: dict[str, str], rules: Rules, at: float) -> Resting:
    """With those that still rest, and that the budget holds by now, the cheapest first."""
    swapped = {name for name in coming if name in view.at_rest and _cause(view, name) is RestCause.SWAP}
    free = {name for name in swapped if name not in view.leased}
    others = {name for name in coming if name in view.at_rest} - swapped
    if rules.scale and not is_busy(view, rules):
        others = set()
    room = room_to_come_back(view, rules, frozenset(others)) - view.cost_of(view.awake | free)
    fits = free | set(_within(sorted(others, key=lambda one: (view.usd_per_hour[one], one)), view, room))
    if not fits:
        return view.resting
    left = {name: rest for name, rest in view.resting.instances.items() if name not in fits}
    return Resting(left, {**view.resting.woken, **{name: coming[name] for name in sorted(fits)}}, at)


def _within(names: Iterable[str], view: View, room_usd: float) -> Iterable[str]:
    for name in names:
        room_usd -= view.usd_per_hour[name]
        if room_usd < -1e-9:
            return
        yield name


def _rested(view: View, going: dict[str, Rest], rules: Rules, at: float) -> Resting:
    """With those that are still wanted, of the same offer, where the others can do without them."""
    offers = {one.id: one.offer_id for one in view.parts}
    some = {name: rest for name, rest in going.items() if name in view.awake and offers[name] == rest.offer_id}
    if not some or not _may_rest(view, some, rules):
        return view.resting
    woken = {name: why for name, why in view.resting.woken.items() if name not in some}
    return Resting({**view.resting.instances, **some}, woken, at)


def _may_rest(view: View, some: dict[str, Rest], rules: Rules) -> bool:
    """Money is short still, and something is left that serves; or what is left is enough for all that came of late."""
    left = frozenset(view.awake - some.keys())
    if any(rest.cause is not RestCause.RATE for rest in some.values()):
        return view.cost_of(view.awake) > room_to_stay(view, rules) + 1e-9 and view.serves(left & view.leased) > 0
    ready = frozenset(one.id for one in view.parts if one.ready)
    peak_rps = view.peaks.over(view.at, lull_of(view, rules))
    if peak_rps is None or not left <= ready or view.replicas(left) < rules.min_replicas:
        return False
    return view.serves(left) >= max(peak_rps, view.load_rps or 0.0) / rules.aim_share


def _cause(view: View, name: str) -> RestCause:
    return view.resting.instances[name].cause
