"""A machine that got too dear for a cheaper one that does the same: whether that beats doing without."""

from dataclasses import dataclass

from thunderctl.controller.sizing.view import Quote, View

MARGIN = 1.02
"""What a swap has to win over releasing: the offer may be gone by the time that it is asked for."""


@dataclass(frozen=True, slots=True)
class Swap:
    """The instance that is let go first, as the budget does not hold both, and why."""

    instance: str
    reason: str


def swap(view: View, kept: frozenset[str], room_usd: float) -> Swap | None:
    """The best one that fits the budget, if until the leases end it serves more than what is `kept` without any.

    Until the new machine serves the others do; where they can't, nothing is swapped. One at a time.
    """
    without = view.serves(kept) * view.left_s
    found = [
        (worth, -costs, name, quote)
        for name, quote in view.quotes.items()
        if name in view.awake & view.leased
        for costs in [view.cost_of(view.awake) - view.usd_per_hour[name] + quote.usd_per_hour]
        for worth in [_worth(view, name, quote)]
        if costs <= room_usd + 1e-9 and quote.usd_per_hour < view.usd_per_hour[name] and worth > without * MARGIN
    ]
    if not found:
        return None
    *_, name, quote = max(found, key=lambda one: one[:3])
    reason = (
        f"it costs ${view.usd_per_hour[name]:.3f}/h, the budget does not hold that, and a machine like it is offered "
        f"for ${quote.usd_per_hour:.3f}/h, which serves in about {quote.start_s / 60:.0f} min"
    )
    return Swap(name, reason)


def _worth(view: View, name: str, quote: Quote) -> float:
    """Requests until the leases end: without it while the new one starts, then with all."""
    meanwhile, then = view.serves(view.awake - {name}), view.serves(view.awake)
    starting_s = min(quote.start_s, view.left_s)
    return meanwhile * starting_s + then * (view.left_s - starting_s) if meanwhile > 0 else 0.0
