"""Who gets to our machines on AWS: a key pair for SSH, and a security group that lets in the deployment alone.

The operator's addresses reach SSH and the agents; the fleet's reach the agents; machines of the group reach each other
on every port, which engines that span several need. All is asked for by name and repeated at will.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from planner.errors import ProvisioningError, SpecError
from provisioners.aws.client import AwsClients
from provisioners.ssh.login import SSH_PORT

FLEET, OPERATOR = "thunderctl: an instance of the fleet", "thunderctl: the operator"


@dataclass(frozen=True, slots=True)
class Rule:
    """Let `source`, an address range, reach a TCP port."""

    source: str
    port: int

    def permission(self, description: str = "") -> dict[str, Any]:
        six = ":" in self.source
        told = {"Description": description} if description else {}
        ranges = [{("CidrIpv6" if six else "CidrIp"): self.source, **told}]
        ports = {"IpProtocol": "tcp", "FromPort": self.port, "ToPort": self.port}
        return {**ports, ("Ipv6Ranges" if six else "IpRanges"): ranges}


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in: ranges of the operator's, and the fleet's addresses; `port` is the agents'."""

    operators: tuple[str, ...]
    port: int
    fleet: frozenset[str] = frozenset()

    @property
    def rules(self) -> dict[Rule, str]:
        """Rule → what is written beside it."""
        mine = {Rule(source, port): OPERATOR for source in self.operators for port in (SSH_PORT, self.port)}
        return {**{Rule(ranged(address), self.port): FLEET for address in self.fleet}, **mine}


def ranged(text: str) -> str:
    """An address or a range as a range. Raises SpecError."""
    try:
        return str(ip_network(text if "/" in text else ip_address(text), strict=False))
    except ValueError as error:
        raise SpecError(f"{text!r} is no address; expected one such as 203.0.113.7 or 203.0.113.0/24.") from error


def key_name(public_key: str) -> str:
    """A name that says which key it is, so that a pair of that name is the same one."""
    return f"thunder-{hashlib.sha256(' '.join(public_key.split()[:2]).encode()).hexdigest()[:16]}"


def group_name(owner_id: str, deployment: str) -> str:
    return f"thunder-{owner_id[:8]}-{deployment}"


async def ensure_key(clients: AwsClients, region: str, public_key: str) -> str:
    """Make the region know our key; returns its name there."""
    name = key_name(public_key)
    asked = {"KeyName": name, "PublicKeyMaterial": public_key.encode()}
    doing = f"Giving {region} our SSH key"
    await clients.call(doing, "ec2", region, "import_key_pair", asked, fine=("InvalidKeyPair.Duplicate",))
    return name


async def ensure_group(clients: AwsClients, region: str, name: str, door: Door) -> str:
    """Make the group, and open what is to be open; returns its id. What else is open stays so: see `close_others`."""
    vpc = await _default_vpc(clients, region)
    group = await find_group(clients, region, name, vpc) or await _made(clients, region, name, vpc)
    wanted = [rule.permission(said) for rule, said in door.rules.items() if rule not in rules_of(group)]
    own = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]}
    for permission in [*wanted, *([] if _open_to_itself(group) else [own])]:
        await _authorize(clients, region, group["GroupId"], permission)
    return str(group["GroupId"])


async def close_others(clients: AwsClients, region: str, name: str, door: Door) -> None:
    """Close what is open to anybody who is neither operator nor fleet any more."""
    if (group := await find_group(clients, region, name)) is None:
        return
    for rule in sorted(rules_of(group) - door.rules.keys(), key=str):
        asked = {"GroupId": group["GroupId"], "IpPermissions": [rule.permission()]}
        doing = f"Closing {name} in {region}"
        await clients.call(
            doing, "ec2", region, "revoke_security_group_ingress", asked, fine=("InvalidPermission.NotFound",)
        )


async def find_group(clients: AwsClients, region: str, name: str, vpc: str = "") -> Mapping[str, Any] | None:
    filters = [{"Name": "group-name", "Values": [name]}, *([{"Name": "vpc-id", "Values": [vpc]}] if vpc else [])]
    asked = {"Filters": filters}
    answer = await clients.call(f"Looking for {name} in {region}", "ec2", region, "describe_security_groups", asked)
    return next(iter(answer.get("SecurityGroups", [])), None)


def rules_of(group: Mapping[str, Any]) -> frozenset[Rule]:
    """The single TCP ports that ranges of addresses may reach."""
    return frozenset(_rules(group.get("IpPermissions", [])))


def _rules(permissions: Iterable[Mapping[str, Any]]) -> Iterable[Rule]:
    for one in permissions:
        if one.get("IpProtocol") == "tcp" and one.get("FromPort") == one.get("ToPort"):
            for row in one.get("IpRanges", []):
                yield Rule(row["CidrIp"], one["FromPort"])
            for row in one.get("Ipv6Ranges", []):
                yield Rule(row["CidrIpv6"], one["FromPort"])


def _open_to_itself(group: Mapping[str, Any]) -> bool:
    pairs: Collection[Mapping[str, Any]] = [
        pair
        for one in group.get("IpPermissions", [])
        if one.get("IpProtocol") == "-1"
        for pair in one.get("UserIdGroupPairs", [])
    ]
    return any(pair.get("GroupId") == group["GroupId"] for pair in pairs)


async def _default_vpc(clients: AwsClients, region: str) -> str:
    asked = {"Filters": [{"Name": "is-default", "Values": ["true"]}]}
    answer = await clients.call(f"Looking for {region}'s network", "ec2", region, "describe_vpcs", asked)
    for row in answer.get("Vpcs", []):
        return str(row["VpcId"])
    raise ProvisioningError(
        f"{region} has no default VPC, which machines go into.", hint=f"aws ec2 create-default-vpc --region {region}"
    )


async def _made(clients: AwsClients, region: str, name: str, vpc: str) -> Mapping[str, Any]:
    asked = {"GroupName": name, "Description": "Who reaches thunderctl's instances", "VpcId": vpc}
    doing = f"Making the security group {name} in {region}"
    await clients.call(doing, "ec2", region, "create_security_group", asked, fine=("InvalidGroup.Duplicate",))
    if (found := await find_group(clients, region, name, vpc)) is None:
        raise ProvisioningError(f"{doing}: it was made, and is not listed yet.", hint="Run the command again.")
    return found


async def _authorize(clients: AwsClients, region: str, group_id: str, permission: Mapping[str, Any]) -> None:
    asked = {"GroupId": group_id, "IpPermissions": [permission]}
    doing = f"Opening the security group {group_id} in {region}"
    await clients.call(
        doing, "ec2", region, "authorize_security_group_ingress", asked, fine=("InvalidPermission.Duplicate",)
    )
