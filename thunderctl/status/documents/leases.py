"""`thunder.leases/v1`: what is rented, what it costs and has cost, and what no lease stands for."""

from collections.abc import Sequence
from typing import Any

from provisioners.leases.journal import LeaseRow
from provisioners.leases.ledger import lease_spent_usd
from thunderctl.deploying.strays import Looked, Stray
from thunderctl.money.spending import Spending
from thunderctl.status.documents.events import rfc3339

LEASES_SCHEMA = "thunder.leases/v1"


def leases_document(
    spending: Spending,
    entries: list[dict[str, Any]],
    looked: Sequence[Looked],
    found: Sequence[Stray],
    warnings: Sequence[str],
) -> dict[str, Any]:
    spend = spending.spend
    return {
        "schema": LEASES_SCHEMA,
        "leases": entries,
        "usd_per_hour": _rounded(spending.machines_usd_per_hour),
        "transfer_usd_per_hour": _rounded(spending.transfer_usd_per_hour),
        "spent_usd": _rounded(spend.usd),
        "machines_usd": _rounded(spend.machines_usd),
        "transfer_usd": _rounded(spend.transfer_usd),
        "unpriced_transfer_gb": _rounded(spend.unpriced_gb),
        "hours": [
            {
                "hour": rfc3339(hour.at),
                "machines_usd": _rounded(hour.machines_usd),
                "transfer_usd": _rounded(hour.transfer_usd),
                "gb": _rounded(hour.gb),
            }
            for hour in spending.hours
        ],
        "strays": [_stray(one) for one in found],
        "sources": [{"provider": one.provider, "ok": not one.problem, "error": one.problem} for one in looked],
        "warnings": list(warnings),
    }


def lease_entry(row: LeaseRow, now: float) -> dict[str, Any]:
    return {
        "id": row.lease_id,
        "instance": row.instance,
        "provider": row.provider,
        "provider_id": row.provider_id,
        "state": row.state,
        "usd_per_hour": row.usd_per_hour if row.state.may_cost else 0.0,
        "spent_usd": _rounded(lease_spent_usd(row, now)),
        "created_at": rfc3339(row.created_at),
        "expires_at": rfc3339(row.expires_at) if row.expires_at else None,
        "prices": [{"since": rfc3339(price.since), "usd_per_hour": float(price.usd_per_hour)} for price in row.prices],
        "reason": row.reason,
    }


def _stray(stray: Stray) -> dict[str, Any]:
    machine = stray.machine
    found = {"provider": stray.provider, "provider_id": machine.provider_id, "usd_per_hour": machine.usd_per_hour}
    return {**found, "action": "none"}


def _rounded(amount: Any) -> float:
    return round(float(amount), 6)
