"""Views by hand, and a fleet that does at once what the policy wants: machines come and go, nothing else."""

from dataclasses import replace

from planner.part_rates import Ability, PartRates
from thunderctl.controller.sizing.budgets import Budget
from thunderctl.controller.sizing.lulls import Peaks
from thunderctl.controller.sizing.policy import sized
from thunderctl.controller.sizing.view import Part, View, is_over
from thunderctl.fleet.resting import RestCause, Resting

NOW = 1_000_000.0
START_S = 600.0


def part(name, usd=1.0, **known):
    return Part(name, f"o-{name}", usd, START_S, **known)


def steady(usd=14.0, at=NOW):
    return Budget(at, usd, ((at, usd),))


def window(usd, begins_s, ends_s, usual=14.0, at=NOW):
    """A smaller budget from `begins_s` to `ends_s` from now."""
    steps = ((at, usual), (at + begins_s, usd)) if begins_s > 0 else ((at, usd),)
    return Budget(at, usual, (*steps, (at + ends_s, usual)))


def view(*parts, rps=1.0, **known):
    """Each part has a replica of its own, which serves `rps`, or what the list of them says."""
    parts = parts or tuple(part(name) for name in ("i0", "i1", "i2"))
    each = rps if isinstance(rps, list) else [rps] * len(parts)
    abilities = tuple(
        Ability(f"r-{one.id}", frozenset({one.id}), (0.0, 0.0, mine)) for one, mine in zip(parts, each, strict=True)
    )
    values = {
        "at": NOW,
        "parts": parts,
        "resting": Resting(),
        "budget": steady(),
        "serves": PartRates(abilities),
        "replicas_on": {one.replica: one.instances for one in abilities},
        **known,
    }
    return View(**values)


def quiet(load, at=NOW, hours=2.0):
    """So much came for so long."""
    peaks = Peaks()
    for minute in range(int(hours * 60), -1, -1):
        peaks = peaks.noted(at - 60 * minute, load)
    return {"load_rps": load, "peaks": peaks}


def after(now, resting):
    """What is to rest is gone, what is wanted is there."""
    at_rest = replace(now, resting=resting).at_rest
    parts = tuple(replace(one, leased=one.id not in at_rest, ready=one.id not in at_rest) for one in now.parts)
    return replace(now, parts=parts, resting=resting)


def settled(now, rules):
    """How it is once the policy has nothing more to change; what it was asked is all in the same moment."""
    for _ in range(6):
        now = replace(now, over_since=now.over_since if is_over(now) else None)
        wanted = sized(now, rules)
        if wanted == now.resting:
            return now
        now = after(now, wanted)
    raise AssertionError(f"it never comes to rest: {now.resting}")


def causes(resting):
    return {name: rest.cause for name, rest in resting.instances.items()}


WINDOW, PRICE, SWAP, RATE = RestCause
