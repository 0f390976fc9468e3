"""An AWS to rent from: moto's server on loopback, what it lacks, and our provisioner on it, on a clock that jumps."""

import os
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import boto3

from planner.catalog import Offer
from planner.deployment import Instance
from provisioners.aws.client import AwsClients
from provisioners.aws.market import MarketReader, Slow
from provisioners.aws.order import LABEL, PRICE
from provisioners.aws.places import Places
from provisioners.aws.provisioner import AwsProvisioner, Terms
from provisioners.aws.regions import RegionMemory, Regions
from provisioners.base import Label, LeaseRequest, Machine, Provisioner
from provisioners.ssh.rented import RentedHosts
from tests.provisioners.aws_cloud import IMAGE, AwsCloud, reset_moto
from tests.provisioners.fakes import OWNER, SOMEBODY_ELSE, FakeClock

TEMPLATES = Path(__file__).parents[2] / "templates"
USER_DATA = (TEMPLATES / "ec2_user_data.sh.j2").read_text()
DEADMAN = (TEMPLATES / "deadman.sh.j2").read_text()
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFJdyOHXqXSHZwgVD5wZ9qLdRxO5lhCFdpvmh9wGtQ3 thunderctl"
REGION, ELSEWHERE = "us-east-1", "eu-central-1"
OPERATOR = "198.51.100.7"
SMALL, SMALL_SPOT = "aws:us-east-1:us-east-1a:g5.xlarge:on-demand", "aws:us-east-1:us-east-1b:g5.xlarge:spot"


@dataclass(slots=True)
class QuickReader(MarketReader):
    """Reads types and list prices once for all worlds."""

    async def _slow(self, region: str) -> Slow:
        if region not in _SLOW:
            _SLOW[region] = await MarketReader._slow(self, region)
        return replace(_SLOW[region], limits=await self._limits(region))


_SLOW: dict[str, Slow] = {}


@dataclass
class AwsWorld:
    cloud: AwsCloud
    clock: FakeClock
    folder: Path
    quick: bool = False
    clients: AwsClients = field(init=False)
    fetched: dict[str, str] = field(default_factory=dict)
    """What the web answers, by URL; any other is one's own address."""

    def __post_init__(self) -> None:
        self.clients = AwsClients(hooked_session(self.cloud), sleep=self.clock.sleep, now=self.clock)

    def reader(self) -> MarketReader:
        kind = QuickReader if self.quick else MarketReader
        return kind(self.clients, fetch=self.fetch, clock=self.clock, now=self.clock)

    def regions(self, *wanted: str) -> Regions:
        return Regions(self.clients, RegionMemory(self.folder / "aws" / "regions"), wanted)

    def provisioner(
        self, *regions: str, reader: MarketReader | None = None, places: dict[str, Any] | None = None, **terms: Any
    ) -> AwsProvisioner:
        hosts = RentedHosts("aws", self.folder / "known_hosts", public_key=PUBLIC_KEY, user="ubuntu", sudo=True)
        return AwsProvisioner(
            self.clients,
            reader or self.reader(),
            self.regions(*(regions or (REGION,))),
            Places(self.clients, PUBLIC_KEY, **({"open_to": (OPERATOR,)} | (places or {}))),
            Terms(**{"user_data": USER_DATA, "deadman": DEADMAN, "hosts": hosts} | terms),
            clock=self.clock,
            now=self.clock,
        )

    def fetch(self, url: str) -> str:
        if url not in self.fetched:
            raise OSError(f"no route to {url}")
        return self.fetched[url]

    def ec2(self, region: str = REGION) -> Any:
        """AWS's own client, without hooks of ours."""
        return plain_client(region)

    def put_foreign(self, label: str | None = None, region: str = REGION) -> str:
        """Somebody else's machine on the same account."""
        ec2 = self.ec2(region)
        if not ec2.describe_key_pairs()["KeyPairs"]:
            ec2.import_key_pair(KeyName="theirs", PublicKeyMaterial=PUBLIC_KEY.encode())  # to make one takes long
        tags = [{"Key": "Name", "Value": "my notebook"}, *([{"Key": LABEL, "Value": label}] if label else [])]
        tags += [{"Key": PRICE, "Value": "5.0"}] if label else []
        made = ec2.run_instances(
            ImageId=IMAGE,
            InstanceType="g5.xlarge",
            KeyName=ec2.describe_key_pairs()["KeyPairs"][0]["KeyName"],
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return str(made["Instances"][0]["InstanceId"])


_OPEN: list[AwsCloud] = []


def hooked_session(cloud: AwsCloud) -> boto3.Session:
    """The SDK with that world's handlers, one session for all worlds: making its clients takes longer than a test."""
    _OPEN[:] = [cloud]
    return _session()


@cache
def _session() -> boto3.Session:
    session = boto3.Session("key", "secret", region_name=REGION)
    for event in AwsCloud(FakeClock()).handlers:
        session.events.register(event, partial(_handle, event))
    return session


def _handle(event: str, **said: Any) -> Any:
    return _OPEN[0].handlers[event](**said)


@cache
def plain_client(region: str) -> Any:
    return boto3.Session("key", "secret", region_name=region).client("ec2")


@contextmanager
def aws_world(*, quick: bool = False, **cloud: Any) -> Iterator[AwsWorld]:
    """With `quick`, what the market sells is read once for all worlds: it must not matter to the test."""
    clock = FakeClock()
    environment = {
        "AWS_ENDPOINT_URL": reset_moto(),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    with TemporaryDirectory() as folder, patch.dict(os.environ, environment):
        yield AwsWorld(AwsCloud(clock, **cloud), clock, Path(folder), quick)


def request(offer: Offer, *, group: str = "") -> LeaseRequest:
    """For one such machine, with a label of its own."""
    label = Label(OWNER, "d", str(uuid.uuid4()))
    return LeaseRequest(label, offer.offer_id, offer.usd_per_hour, offer.interruptible, offer.disk_gb, group=group)


async def rented(provisioner: AwsProvisioner, offer_id: str = SMALL) -> Machine:
    offer = await provisioner.quote(offer_id)
    assert offer is not None
    return await provisioner.lease(request(offer))


async def seen(provisioner: AwsProvisioner) -> Machine:
    """The only machine, as it is listed."""
    listing = await provisioner.observe()
    assert listing.complete, listing.reason
    [machine] = listing.machines
    return machine


@dataclass
class AwsLeaseWorld:
    """The world as the matrix of crashes has it (`lease_worlds.py`)."""

    world: AwsWorld
    name: str = "aws"
    budget_usd_per_hour: float = 2.5
    offers: tuple[tuple[str, str], ...] = ((SMALL_SPOT, SMALL_SPOT), (SMALL, SMALL))
    creates: tuple[str, ...] = (
        *("", "InsufficientInstanceCapacity", "VcpuLimitExceeded", "RequestLimitExceeded", "InvalidParameterValue"),
        *("504 before", "504 after", "dropped before", "dropped after", "no id", "html", "Unavailable", "AuthFailure"),
    )
    lists: tuple[str, ...] = (
        *("RequestLimitExceeded", "UnauthorizedOperation", "dropped", "html", "empty", "schema", "null fields"),
        "no price",
    )
    list_points: tuple[str, ...] = ("", "C8")
    deletes: tuple[str, ...] = ("RequestLimitExceeded", "InternalError", "InternalError after", "dropped after")
    happenings: tuple[str, ...] = (
        "host gone",
        "price raised",
        "taken back",
        "stopped",
        "strange state",
        "duplicate label",
    )

    def __post_init__(self) -> None:
        self.clock = self.world.clock
        foreign = (self.world.put_foreign(), self.world.put_foreign(str(Label(SOMEBODY_ELSE, "d", "x"))))
        self.foreign = frozenset(foreign)
        self.world.cloud.limits["L-3819A6DF"] = 8.0  # spot, g: two of the small ones

    def provisioner(self) -> Provisioner:
        self.clock.at += 5.0
        return self.world.provisioner()

    def wanted(self, name: str, offer_id: str) -> Instance:
        spot = offer_id == SMALL_SPOT
        return Instance(name, offer_id, "aws", REGION, "A10G", 1, 22.3, 1.1, disk_gb=120.0, interruptible=spot)

    def spoil(self, operation: str, *faults: str) -> None:
        queue = self.world.cloud.faults.setdefault(operation, deque())
        queue.clear()
        queue.extend(faults)

    def happen(self, what: str) -> None:
        one = next(one for one in self.world.cloud.instances() if one.id not in self.foreign)
        match what:
            case "host gone":
                self.world.ec2().terminate_instances(InstanceIds=[one.id])
            case "price raised":
                self.world.cloud.spot_usd["g5.xlarge"] = 0.9
            case "taken back":
                self.world.cloud.notices[one.id] = "marked-for-termination"
            case "stopped":
                self.world.ec2().stop_instances(InstanceIds=[one.id])
            case "strange state":
                self.world.cloud.states[one.id] = "hibernating-since-yesterday"
            case "duplicate label":
                label = next(tag["value"] for tag in one.get_tags() if tag["key"] == LABEL)
                self.world.put_foreign(label)

    def labels(self) -> list[str]:
        tags = [{tag["key"]: tag["value"] for tag in one.get_tags()} for one in self.world.cloud.instances()]
        return [one.get(LABEL, "") for one in tags]

    def bill(self) -> None:
        """moto charges nothing."""

    def others_stand(self) -> bool:
        return self.foreign <= {one.id for one in self.world.cloud.instances()}


@contextmanager
def aws_lease_world(_folder: Path) -> Iterator[AwsLeaseWorld]:
    with aws_world(quick=True) as world:
        yield AwsLeaseWorld(world)
