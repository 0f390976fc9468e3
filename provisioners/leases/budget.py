"""The gate before every create: what may cost already, transfers, plus this quote, within the budget."""

from collections.abc import Iterable
from decimal import Decimal

from planner.errors import PriceMoved, Refused
from provisioners.leases.journal import LATE_S, LeaseRow, usd
from provisioners.leases.ledger import usd_per_hour

ROUNDING_USD = 1e-9
"""Plans' prices are sums of floats: 4 × 0.02 must fit 0.08. Comparisons are `not … <= …`, so that NaN refuses."""


def gate(
    rows: Iterable[LeaseRow],
    quote_usd_per_hour: float,
    budget_usd_per_hour: float,
    transfer_usd_per_hour: Decimal = Decimal(0),
    *,
    now: float = 0.0,
) -> None:
    """Raise Refused when one more lease at this quote would pass the budget. Leases in doubt count, and so does what
    transfers cost by the hour; those that nothing but empty listings lacked count for as long as they may turn up
    (`now` is in seconds since the epoch).
    """
    known = tuple(rows)
    unseen = [row for row in known if row.is_unseen and now - row.created_at <= LATE_S]
    doubted = sum((usd(row.usd_per_hour) for row in unseen), Decimal(0))
    fleet, moving = float(usd_per_hour(known) + doubted), float(transfer_usd_per_hour)
    total = float(usd_per_hour(known) + doubted + transfer_usd_per_hour + usd(quote_usd_per_hour))
    if not total <= budget_usd_per_hour + ROUNDING_USD:
        transfers = f" and transfers of {moving:.4g} $/h" if moving else ""
        names = ", ".join(row.lease_id for row in unseen)
        raise Refused(
            f"A lease at {quote_usd_per_hour:.4g} $/h beside a fleet of {fleet:.4g} $/h{transfers} makes "
            f"{total:.4g} $/h; the budget is {budget_usd_per_hour:.4g} $/h.",
            hint=f"Counted are machines that may be there, though empty listings lack them: {names}. Look for them at "
            "their provider; for one that is not there: thunderctl leases --forget LEASE"
            if unseen
            else "Raise the budget, or release something first: thunderctl leases shows what counts.",
        )


def check_price(quoted_usd_per_hour: float, fresh_usd_per_hour: float, tolerance: float) -> None:
    """Raise PriceMoved when the price went up by more than the share `tolerance` since the plan was made."""
    if not fresh_usd_per_hour <= quoted_usd_per_hour * (1 + tolerance) + ROUNDING_USD:
        raise PriceMoved(
            f"The offer now costs {fresh_usd_per_hour:.4g} $/h; the plan counted on {quoted_usd_per_hour:.4g} $/h, "
            f"and {tolerance:.0%} more is tolerated.",
            hint="Plan again.",
        )
