"""How many vCPUs an account may rent at once in a region: one quota for each family of types and market.

A new account's quotas for GPUs are 0. `Service Quotas` states them; what runs already is counted from the listing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provisioners.aws.client import AwsClients


@dataclass(frozen=True, slots=True)
class Quota:
    """Which types count (their name begins with one of `families`), on which market, and what AWS calls it."""

    families: tuple[str, ...]
    interruptible: bool
    code: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


QUOTAS = (
    Quota(("g",), False, "L-DB2E81BA", "Running On-Demand G and VT instances"),
    Quota(("p",), False, "L-417A185B", "Running On-Demand P instances"),
    Quota(("g",), True, "L-3819A6DF", "All G and VT Spot Instance Requests"),
    Quota(("p2", "p3", "p4"), True, "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    Quota(("p5", "p6"), True, "L-C4BD4855", "All P5 Spot Instance Requests"),
)
"""Which of them a p6 on spot counts towards is not documented: it is held to P5's."""
LIVE = frozenset({"pending", "running", "stopping", "shutting-down"})


def quota_of(type_name: str, *, interruptible: bool) -> Quota | None:
    """The quota that a machine of this type counts towards; None where we know of none."""
    fitting = (one for one in QUOTAS if one.interruptible == interruptible and type_name.startswith(one.families))
    return next(fitting, None)


async def limits(clients: AwsClients, region: str) -> dict[Quota, float]:
    """vCPUs by quota, without those that the region does not state. Raises AuthError where it may not be asked."""
    return {quota: limit for quota in QUOTAS if (limit := await _limit(clients, region, quota)) is not None}


def used(instances: Iterable[Mapping[str, Any]], vcpus: Mapping[str, int]) -> Counter[Quota]:
    """vCPUs of the machines that run, ours or not, by quota. `vcpus` is by type."""
    found = Counter[Quota]()
    for one in instances:
        name = str(one.get("InstanceType", ""))
        quota = quota_of(name, interruptible=one.get("InstanceLifecycle") == "spot")
        if quota is not None and one.get("State", {}).get("Name") in LIVE:
            found[quota] += vcpus.get(name, 0)
    return found


async def _limit(clients: AwsClients, region: str, quota: Quota) -> float | None:
    answer = await clients.call(
        f"Reading quotas of {region}",
        "service-quotas",
        region,
        "get_service_quota",
        {"ServiceCode": "ec2", "QuotaCode": quota.code},
        fine=("NoSuchResourceException",),
    )
    value = answer.get("Quota", {}).get("Value")
    return float(value) if isinstance(value, int | float) else None
