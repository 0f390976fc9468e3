"""What becomes of service and leases while the machine that router and controller are on sleeps, or is off."""

from collections.abc import Iterable

from provisioners.leases.journal import LeaseRow
from provisioners.leases.ledger import usd_per_hour

HERE, OWN = "local", "ssh"


def while_asleep(rows: Iterable[LeaseRow], deadman_s: float) -> str:
    """One or two sentences for people; empty where nothing runs elsewhere, which sleeps as well."""
    away = [row for row in rows if row.state.may_cost and row.provider != HERE]
    if not away:
        return ""
    said = "While this machine sleeps or is off, nobody is answered: router and controller are on it."
    billed = [row for row in away if row.provider != OWN]
    if not billed:
        return f"{said} The hosts stay leased, and wait."
    cost = float(usd_per_hour(billed))
    return (
        f"{said} What bills (${cost:.3f} an hour) goes on billing, and ends itself when it has heard from nobody for "
        f"{deadman_s / 3600:g} h (`[leases] deadman_s`), or its lease is over."
    )
