"""A RunPod to rent from: the fake cloud on the wire, and our provisioner on it, on one clock that jumps."""

import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.catalog import Offer
from planner.deployment import Instance
from provisioners.base import Label, LeaseRequest
from provisioners.pacer import Pacer
from provisioners.runpod.client import CALL_S, CALLS_AT_ONCE, RunPodClient
from provisioners.runpod.pods import DISK_USD_PER_GB_HOUR
from provisioners.runpod.provisioner import RunPodProvisioner
from provisioners.ssh.rented import RentedHosts
from tests.provisioners.fakes import OWNER, SOMEBODY_ELSE, FakeClock
from tests.provisioners.runpod_cloud import OWNER_KEY, Pod, RunPodCloud, gpu_type
from tests.provisioners.runpod_server import serving

DISK_GB = 120.0
DISK_USD = DISK_GB * DISK_USD_PER_GB_HOUR


@dataclass(frozen=True)
class RunPodWorld:
    cloud: RunPodCloud
    clock: FakeClock
    url: str

    def client(self, api_key: str | None = OWNER_KEY) -> RunPodClient:
        pacer = Pacer(CALL_S, burst=CALLS_AT_ONCE, clock=self.clock, sleep=self.clock.sleep)
        return RunPodClient(api_key, url=self.url, pacer=pacer)

    def provisioner(
        self, api_key: str | None = OWNER_KEY, known_hosts: Path = Path("known_hosts"), boot_s: float = 1200.0
    ) -> RunPodProvisioner:
        hosts = RentedHosts("runpod", known_hosts, public_key="ssh-ed25519 AAAAC3Nz thunder's own")
        return RunPodProvisioner(
            self.client(api_key), hosts, "echo for {}".format, disk_gb=DISK_GB, boot_s=boot_s, clock=self.clock
        )


@contextmanager
def runpod_world(*gpus: dict, clock: FakeClock | None = None) -> Iterator[RunPodWorld]:
    """Two L40S in one data centre, unless told otherwise."""
    clock = clock or FakeClock()
    cloud = RunPodCloud(clock, list(gpus) or [gpu_type("NVIDIA L40S", 48, 0.4, {"US-KS-2": 2})])
    with serving(cloud) as url:
        yield RunPodWorld(cloud, clock, url)


def request(offer: Offer, **changes) -> LeaseRequest:
    """For one such machine, with a label of its own."""
    label = Label(OWNER, "d", str(uuid.uuid4()))
    return LeaseRequest(label, offer.offer_id, offer.usd_per_hour, offer.interruptible, offer.disk_gb, **changes)


@dataclass
class RunPodLeaseWorld:
    """The fake RunPod on the wire, for the matrix of crashes."""

    world: RunPodWorld
    name: str = "runpod"
    budget_usd_per_hour: float = 1.0
    offers: tuple[tuple[str, str], ...] = (("1x NVIDIA L40S @ US-KS-2", "1x NVIDIA L40S @ US-KS-2"),)
    creates: tuple[str, ...] = (
        *("", "no room", "402", "429", "500 before", "500 after", "504 before", "504 after", "dropped before"),
        *("dropped after", "no id", "text", "error state", "stuck", "wrong key"),
    )
    lists: tuple[str, ...] = ("410", "429", "500", "empty", "schema", "cut", "text", "null fields", "wrong key")
    list_points: tuple[str, ...] = ("",)
    deletes: tuple[str, ...] = ("429", "500", "500 after", "404 after", "wrong key")
    happenings: tuple[str, ...] = (
        *("host gone", "price raised", "exited", "strange state", "duplicate label", "stuck loading"),
        "clock of the provider an hour off",
    )

    def __post_init__(self) -> None:
        self.clock, self.cloud = self.world.clock, self.world.cloud
        self.foreign = {self.cloud.put_foreign(), self.cloud.put_foreign(str(Label(SOMEBODY_ELSE, "d", "x")))}

    def provisioner(self) -> RunPodProvisioner:
        self.clock.at += 5.0
        return self.world.provisioner()

    def wanted(self, name: str, offer_id: str) -> Instance:
        return Instance(name, offer_id, "runpod", "US-KS-2", "L40S", 1, 44.9, 0.4 + DISK_USD, disk_gb=DISK_GB)

    def spoil(self, operation: str, *faults: str) -> None:
        self.cloud.owner_key = "another key" if "wrong key" in faults else OWNER_KEY
        named = "destroy" if operation == "delete" else operation
        self.cloud.faults[named] = deque(one for one in faults if one != "wrong key")

    def happen(self, what: str) -> None:
        pod = self._ours()[0]
        match what:
            case "host gone":
                del self.cloud.pods[pod.pod_id]
            case "price raised":
                pod.usd_per_hour *= 1.05
                self.budget_usd_per_hour = 1.1
            case "exited":
                pod.state_word = "EXITED"
            case "strange state":
                pod.state_word = "HIBERNATING"
            case "duplicate label":
                self.cloud.put(pod.body, pod.usd_per_hour)
            case "stuck loading":
                pod.stuck, self.cloud.boot_s = True, 60.0
            case "clock of the provider an hour off":
                pod.skew_s = 3600.0

    def labels(self) -> list[str]:
        return [pod.name for pod in self.cloud.pods.values()]

    def bill(self) -> dict[str, float]:
        return {pod.name: self.cloud.usd_per_hour(pod) for pod in self.cloud.pods.values()}

    def others_stand(self) -> bool:
        return self.foreign <= self.cloud.pods.keys()

    def _ours(self) -> list[Pod]:
        return [pod for pod_id, pod in self.cloud.pods.items() if pod_id not in self.foreign]


@contextmanager
def runpod_lease_world(_folder: Path) -> Iterator[RunPodLeaseWorld]:
    with runpod_world() as world:
        yield RunPodLeaseWorld(world)
