"""Pods as RunPod lists them → machines, believing nothing that is not understood."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from math import inf
from typing import Any

from provisioners.base import Label, Listing, Machine, not_mapped

DISK_USD_PER_GB_HOUR = 0.10 / (30 * 24)
"""List price of a container's disk while it runs. `cost` is taken to leave it out, as in the reference's examples."""
TERMINATED = "TERMINATED"
ENDED = {"EXITED": "it has exited: its disk is wiped", "ERROR": "RunPod calls its error final"}
"""States that never lead to one that serves; others may, those that we don't know included."""


def listing(body: Any) -> Listing:
    """All pods, or as many as were understood and why that is not all. Those that are terminated bill no more."""
    rows = body.get("pods") if isinstance(body, Mapping) else None
    if not isinstance(rows, list):
        return Listing(False, reason=f"the answer has no list of pods: {str(body)[:100]}")
    known = [machine for machine in map(machine_of, rows) if machine is not None]
    unread = len(rows) - len(known)
    listed = tuple(machine for machine in known if machine.state != TERMINATED)
    ended = frozenset(machine.provider_id for machine in known if machine.state == TERMINATED)
    return Listing(not unread, listed, f"{unread} pods have no id, name or price to be read" * bool(unread), ended)


def machine_of(row: Any) -> Machine | None:
    """A row as a machine; None where its id, its name or the price of one of ours can't be read."""
    if not isinstance(row, Mapping) or not isinstance(row.get("id"), str) or not isinstance(row.get("name"), str):
        return None
    usd_per_hour, state, ports = _usd_per_hour(row), str(row.get("status") or "unknown"), ports_of(row)
    if usd_per_hour is None and Label.parse(row["name"]) is not None:
        return None
    ip, ssh_port = ports.get(22, ("", 0))
    return Machine(
        provider_id=row["id"],
        label=row["name"],
        state=state,
        usd_per_hour=usd_per_hour or 0.0,  # what others' cost is not our concern
        address=ip,
        created_at=_seconds(row.get("createdAt")),
        problem=ENDED.get(state, ""),
        ports={inner: outer for inner, (_, outer) in ports.items()},
        ssh=(ip, ssh_port) if ip else None,
        trouble=not_mapped(ports) if ip else "",
    )


def ports_of(row: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Port in the container → public address and port, TCP only; empty until it runs, and for a while after."""
    with suppress(TypeError, ValueError, LookupError, ArithmeticError):
        tcp = [port for port in row["runtime"]["ports"] if port["type"] == "tcp" and port["ip"] and port["public"]]
        return {int(port["private"]): (str(port["ip"]), int(port["public"])) for port in tcp}
    return {}


def _usd_per_hour(row: Mapping[str, Any]) -> float | None:
    """What a pod costs with its disk, which bills while its GPUs do; None where that can't be read."""
    cost, disk_gb = row.get("cost"), row.get("disk")
    if not isinstance(cost, int | float) or not isinstance(disk_gb, int | float):
        return None
    usd_per_hour = cost + disk_gb * DISK_USD_PER_GB_HOUR if cost else 0.0
    return usd_per_hour if min(cost, disk_gb) >= 0 and usd_per_hour < inf else None


def _seconds(text: Any) -> float:
    """An RFC 3339 time as seconds since the epoch; 0 where there is none."""
    with suppress(TypeError, ValueError, ArithmeticError):
        return datetime.fromisoformat(text).timestamp()
    return 0.0
