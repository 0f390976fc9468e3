"""The gate before every create: what may cost already, plus this quote, within the budget."""

from collections.abc import Iterable

from planner.errors import Refused
from provisioners.leases.journal import LeaseRow
from provisioners.leases.ledger import usd_per_hour

ROUNDING_USD = 1e-9
"""Prices are sums of floats: 4 × 0.02 must fit 0.08. Comparisons are `not … <= …`, so that NaN refuses."""


def gate(rows: Iterable[LeaseRow], quote_usd_per_hour: float, budget_usd_per_hour: float) -> None:
    """Raise Refused when one more lease at this quote would pass the budget. Leases in doubt count."""
    fleet = usd_per_hour(rows)
    total = fleet + quote_usd_per_hour
    if not total <= budget_usd_per_hour + ROUNDING_USD:
        raise Refused(
            f"A lease at {quote_usd_per_hour:.4g} $/h beside a fleet of {fleet:.4g} $/h makes {total:.4g} $/h; "
            f"the budget is {budget_usd_per_hour:.4g} $/h.",
            hint="Raise the budget, or release something first: thunderctl leases shows what counts.",
        )


def check_price(quoted_usd_per_hour: float, fresh_usd_per_hour: float, tolerance: float) -> None:
    """Raise Refused when the price went up by more than the share `tolerance` since the plan was made."""
    if not fresh_usd_per_hour <= quoted_usd_per_hour * (1 + tolerance) + ROUNDING_USD:
        raise Refused(
            f"The offer now costs {fresh_usd_per_hour:.4g} $/h; the plan counted on {quoted_usd_per_hour:.4g} $/h, "
            f"and {tolerance:.0%} more is tolerated.",
            hint="Plan again.",
        )
