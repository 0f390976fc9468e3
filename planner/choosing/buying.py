"""What procurement buys of a choice: the most for the budget, the least for a rate, or everything there is."""

from dataclasses import replace

from planner.choosing.search import Search
from planner.procurement.procure import procure
from planner.procurement.purchase import Purchase
from planner.procurement.shop import Choice

LEAST_RATE_RPS = 0.01
"""What serves less than this serves nothing."""


def bought(search: Search, choice: Choice, rate_rps: float | None = None, *, least_rps: float = 0.0) -> Purchase | None:
    """The most for the budget or, for a rate, the least cost; None if that is not promised to serve `least_rps`."""
    return procure(
        choice.shop,
        choice.prefill,
        choice.decode,
        choice.mixed,
        budget_usd_per_hour=search.budget_usd_per_hour,
        demand_rps=rate_rps,
        rent_all=search.rent_all,
        least_rps=least_rps,
    )


def _without_limit(search: Search, choice: Choice) -> Search:
    everything = float(choice.shop.usd_per_hour @ choice.shop.available)
    return replace(search, budget_usd_per_hour=everything + 1.0)


def least_usd_per_hour(search: Search, choice: Choice, rate_rps: float = LEAST_RATE_RPS) -> float | None:
    """What the cheapest purchase costs that serves this rate, whatever the budget; None if none does."""
    purchase = bought(_without_limit(search, choice), choice, rate_rps)
    return purchase.usd_per_hour if purchase else None


def most_of_all(search: Search, choice: Choice) -> float:
    """Requests/s of everything on offer together."""
    most = bought(_without_limit(search, choice), choice)
    return most.served_rps if most else 0.0
