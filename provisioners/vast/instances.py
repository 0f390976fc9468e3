"""Instances as Vast.ai lists them → machines, page by page, believing nothing that is not understood."""

from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Any

from planner.errors import ProvisioningError
from provisioners.base import Label, Listing, Machine, not_mapped
from provisioners.crash import crash_point

MOST_PAGES = 400
PROVISIONING = "provisioning"
"""Our word for Vast's null: a container is being made room for."""
RUNNING = "running"
NEVER_STARTS = "OCI runtime create failed"
BOOTING = frozenset({PROVISIONING, "created", "loading"})
AWAY = {
    "offline": "offline: Vast.ai does not reach its host",
    "unknown": "unknown: Vast.ai has not heard of its host lately",
    "exited": "exited: its container has ended",
}
"""States that may pass, in words. One that lasts is final: a machine that nobody reaches serves nobody."""


async def listing(fetch: Callable[[str | None], Awaitable[Any]]) -> Listing:
    """Walk every page; incomplete, with the reason, from the first thing that is not as it should be."""
    machines: dict[str, Machine] = {}
    after, seen = None, set[str]()
    for _ in range(MOST_PAGES):
        try:
            body = await fetch(after)
        except ProvisioningError as error:
            return Listing(False, tuple(machines.values()), error.message)
        rows = body.get("instances") if isinstance(body, Mapping) else None
        if not isinstance(body, Mapping) or not isinstance(rows, list):
            return Listing(False, tuple(machines.values()), f"a page has no list of instances: {str(body)[:100]}")
        unread = 0
        for row in rows:
            if (machine := machine_of(row)) is None:
                unread += 1
            else:
                machines[machine.provider_id] = machine
        if unread:
            return Listing(False, tuple(machines.values()), f"{unread} rows have no id, label or price to be read")
        crash_point("C8")
        after = body.get("next_token")
        if after is None or after == "":
            return _whole(machines, body.get("total_instances"))
        if not isinstance(after, str) or after in seen:
            return Listing(False, tuple(machines.values()), f"the page token {after!r} leads nowhere")
        seen.add(after)
    return Listing(False, tuple(machines.values()), f"the listing did not end in {MOST_PAGES} pages")


def _whole(machines: Mapping[str, Machine], total: Any) -> Listing:
    """The last page was read: was that all of them, by Vast's own count?"""
    if isinstance(total, int) and total > len(machines):
        return Listing(False, tuple(machines.values()), f"{len(machines)} of {total} instances were listed")
    return Listing(True, tuple(machines.values()))


def machine_of(row: Any) -> Machine | None:
    """A row as a machine; None where its id, its label or the price of one of ours can't be read."""
    if not isinstance(row, Mapping) or "label" not in row:
        return None
    number, label, price = row.get("id"), row["label"] or "", row.get("dph_total")
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(label, str):
        return None
    if not isinstance(price, int | float) or not 0 <= price < inf:
        if Label.parse(label) is not None:
            return None
        price = 0.0  # nobody's of ours: what it costs is not our concern
    born = row.get("start_date")
    return Machine(
        str(number),
        label,
        str(row.get("actual_status") or PROVISIONING),
        float(price),
        address=str(row.get("public_ipaddr") or "").strip(),
        created_at=float(born) if isinstance(born, int | float) else 0.0,
        problem=problem_of(row),
        trouble=trouble_of(row),
        ports=ports_of(row),
        ssh=ssh_of(row),
        ends_at=ends_at_of(row),
    )


def ends_at_of(row: Mapping[str, Any]) -> float | None:
    """When the host's offer runs out, beyond which Vast.ai keeps nothing running there."""
    said = row.get("end_date")
    return float(said) if isinstance(said, int | float) and said is not True and 0 < said < inf else None


def problem_of(row: Mapping[str, Any]) -> str:
    """Why the instance will never serve; empty where it may yet. Words that we don't know are no reason."""
    if row.get("cur_state") == row.get("intended_status") == row.get("next_state") == "stopped":
        return "outbid: it is stopped, and bills its disk" if row.get("is_bid") else "stopped: it bills its disk"
    state, message = str(row.get("actual_status") or ""), str(row.get("status_msg") or "").strip()
    if state == "created" and NEVER_STARTS in message:
        return message[:200]
    return ""


def trouble_of(row: Mapping[str, Any]) -> str:
    """What is wrong with the instance that may pass; empty where it can be reached, or only boots yet.

    Its ports may be listed after its address, and some hosts never map what they sold: SSH gets there by Vast's proxy
    all the same, the agent's callers do not.
    """
    state = str(row.get("actual_status"))
    return not_mapped(ports_of(row)) if state == RUNNING else AWAY.get(state, "")


def ports_of(row: Mapping[str, Any]) -> dict[int, int]:
    """Port in the container → port of the public address, TCP only; empty until it has booted."""
    mapped = row.get("ports")
    found = {}
    for name, bindings in mapped.items() if isinstance(mapped, Mapping) else ():
        port, _, protocol = str(name).partition("/")
        first = bindings[0] if isinstance(bindings, list) and bindings else None
        outer = str(first.get("HostPort")) if isinstance(first, Mapping) else ""
        if protocol == "tcp" and port.isdecimal() and outer.isdecimal():
            found[int(port)] = int(outer)
    return found


def ssh_of(row: Mapping[str, Any]) -> tuple[str, int] | None:
    """Where SSH reaches it: straight where port 22 is mapped, else through Vast's proxy; None until either is known."""
    host, port = str(row.get("public_ipaddr") or "").strip(), ports_of(row).get(22)
    if host and port:
        return host, port
    host, proxied = str(row.get("ssh_host") or "").strip(), str(row.get("ssh_port") or "")
    return (host, int(proxied)) if host and proxied.isdecimal() else None
