"""Instances as EC2 lists them → machines, over every region in use, believing nothing that is not understood."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from planner.errors import ProvisioningError
from provisioners.aws.client import AwsClients, in_filters
from provisioners.aws.order import BESIDE, LABEL, PRICE
from provisioners.base import AGENT_PORT, Label, Listing, Machine
from provisioners.crash import crash_point
from provisioners.ssh.login import SSH_PORT

TERMINATED = "terminated"
ENDING = frozenset({"shutting-down", "stopping", "stopped"})
TAKEN_BACK = frozenset({"marked-for-termination", "marked-for-stop"})
"""What a spot request's status says from two minutes before its machine is taken."""
ROWS = 1000

SpotPrice = Callable[[str, str, str], Awaitable[float | None]]
"""$/h of an instance on the spot market now, by region, type and zone; None where it is not known."""


async def listing(clients: AwsClients, regions: Collection[str], spot_price: SpotPrice) -> Listing:
    """All regions at once; incomplete, with the reasons, where any of them is not understood."""
    listings = await asyncio.gather(*(_region(clients, region, spot_price) for region in regions))
    reasons = [one.reason for one in listings if not one.complete]
    machines = tuple(machine for one in listings for machine in one.machines)
    return Listing(not reasons, machines, "; ".join(reasons), frozenset().union(*(one.ended for one in listings)))


async def _region(clients: AwsClients, region: str, spot_price: SpotPrice) -> Listing:
    rows: list[Any] = []
    problem = ""
    asked = {"MaxResults": ROWS}
    try:
        async for page in clients.pages(f"Listing {region}'s instances", "ec2", region, "describe_instances", asked):
            rows += [one for group in page["Reservations"] for one in group["Instances"]]
            crash_point("C8")
    except ProvisioningError as error:
        problem = f"{error.message} {error.hint}".strip()
    except (LookupError, TypeError) as error:
        problem = f"{region}: a page has no list of instances: {error!r}"
    read = [machine_of(row, region) for row in rows if not _is_terminated(row)]
    if unread := read.count(None):
        problem = problem or f"{region}: {unread} rows have no id, state, label or price to be read"
    found = {machine.provider_id: machine for machine in read if machine is not None}
    listed = {f"{region}/{row.get('InstanceId')}": row for row in rows if _is_spot(row)}
    spot = {name: row for name, row in listed.items() if name in found}
    ours = {name: row for name, row in spot.items() if Label.parse(found[name].label)}
    found |= await _as_spot(clients, region, found, ours, spot_price)
    ended = frozenset(f"{region}/{row['InstanceId']}" for row in rows if _is_terminated(row) and "InstanceId" in row)
    return Listing(not problem, tuple(found.values()), problem, ended)


def machine_of(row: Any, region: str) -> Machine | None:
    """A row as a machine; None where its id, its state or label, or the price of one of ours can't be read."""
    try:
        instance_id, state = row["InstanceId"], row["State"]["Name"]
        tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags", [])}
    except (LookupError, TypeError, AttributeError):
        return None
    label = tags.get(LABEL, "")
    price = _number(tags.get(PRICE))
    if not isinstance(instance_id, str) or not isinstance(state, str) or (price is None and Label.parse(label)):
        return None
    address, born = str(row.get("PublicIpAddress") or ""), row.get("LaunchTime")
    return Machine(
        f"{region}/{instance_id}",
        label,
        state,
        price or 0.0,  # nobody's of ours: what it costs is not our concern
        address=str(row.get("PublicDnsName") or address),
        created_at=born.timestamp() if hasattr(born, "timestamp") else 0.0,
        problem=problem_of(row),
        ports={AGENT_PORT: AGENT_PORT} if address else {},
        ssh=(address, SSH_PORT) if address else None,
    )


def problem_of(row: Mapping[str, Any]) -> str:
    """Why the instance will never serve; empty where it may yet. Words that we don't know are no reason."""
    state = row["State"]["Name"]
    if state not in ENDING:
        return ""
    said = (row.get("StateReason") or {}).get("Message") or row.get("StateTransitionReason") or ""
    return f"{state}: {said}".strip(": ") + (", and bills its volume" if state == "stopped" else "")


async def _as_spot(
    clients: AwsClients,
    region: str,
    found: Mapping[str, Machine],
    rows: Mapping[str, Mapping[str, Any]],
    spot_price: SpotPrice,
) -> dict[str, Machine]:
    """Our spot machines, at the price of the market now, and told of where they are about to be taken back."""
    notices = await _notices(clients, region, [str(row.get("SpotInstanceRequestId") or "") for row in rows.values()])
    after = {}
    for name, row in rows.items():
        machine = found[name]
        now = await spot_price(
            region, str(row.get("InstanceType")), str(row.get("Placement", {}).get("AvailabilityZone"))
        )
        beside = _number({tag["Key"]: tag["Value"] for tag in row["Tags"]}.get(BESIDE))
        usd = machine.usd_per_hour if now is None or beside is None else now + beside
        notice = notices.get(str(row.get("SpotInstanceRequestId")), "")
        after[name] = replace(machine, usd_per_hour=usd, problem=machine.problem or notice)
    return after


async def _notices(clients: AwsClients, region: str, requests: Collection[str]) -> dict[str, str]:
    """Spot request → that AWS takes its machine back. Not to know of it early is no reason to distrust a listing."""
    found: dict[str, str] = {}
    for some in in_filters([request for request in requests if request]):
        filters = [{"Name": "spot-instance-request-id", "Values": some}]
        doing = f"Asking {region} for notices"
        try:
            answer = await clients.call(doing, "ec2", region, "describe_spot_instance_requests", {"Filters": filters})
        except ProvisioningError:
            continue
        for row in answer.get("SpotInstanceRequests", []):
            if (code := row.get("Status", {}).get("Code")) in TAKEN_BACK:
                found[str(row.get("SpotInstanceRequestId"))] = f"{code}: AWS takes it back within two minutes"
    return found


def _is_terminated(row: Any) -> bool:
    try:
        return bool(row["State"]["Name"] == TERMINATED)
    except (LookupError, TypeError):
        return False


def _is_spot(row: Any) -> bool:
    return isinstance(row, Mapping) and row.get("InstanceLifecycle") == "spot"


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if isfinite(value) and value >= 0 else None
