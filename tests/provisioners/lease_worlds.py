"""Worlds to lease machines in, with one interface: what may go wrong there, and what its provider bills for.

The matrix of crashes (`lease_life.py`, benchmarks/leases.py) runs over them; a new provider joins by another class.
One's own hosts (ssh) are not among them: what leases them is a shell on the host, which no fake stands for; that is
tested over a real sshd, killed at the same points (`test_crash_points.py`, `test_ssh_provisioner.py`).
"""

import asyncio
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from planner.deployment import Instance
from provisioners.base import Label, Machine, Provisioner
from provisioners.local.provisioner import LocalProvisioner
from tests.provisioners.aws_world import aws_lease_world
from tests.provisioners.fakes import GPU, OWNER, SOMEBODY_ELSE, FakeClock, FakeCloud
from tests.provisioners.runpod_world import runpod_lease_world
from tests.provisioners.vast_market import OWNER_KEY, Contract
from tests.provisioners.vast_world import VastWorld, vast_world

ELSEWHERE = ("wrong key as 404", "daily quota used up")
"""Faults that lie in the account, not in the answer to one request."""


class LeaseWorld(Protocol):
    """One provider and its fake, on a clock that jumps. A fault spoils the next answers to one kind of request.

    `offers` are pairs of offers, one pair a way of renting. `happenings` befall machines of ours that run.
    """

    name: str
    clock: FakeClock
    budget_usd_per_hour: float
    offers: tuple[tuple[str, str], ...]
    creates: tuple[str, ...]
    lists: tuple[str, ...]
    list_points: tuple[str, ...]
    deletes: tuple[str, ...]
    happenings: tuple[str, ...]

    def provisioner(self) -> Provisioner:
        """As a process just started has it: it remembers nothing."""

    def wanted(self, name: str, offer_id: str) -> Instance:
        """The instance of a plan that such an offer would serve."""

    def spoil(self, operation: str, *faults: str) -> None:
        """Spoil the next answers to `create`, `list` or `delete`; no faults: the provider is well again."""

    def happen(self, what: str) -> None:
        """Let it befall the first machine of ours."""

    def labels(self) -> list[str]:
        """Of every machine that bills, ours and others'."""

    def bill(self) -> Mapping[str, float] | None:
        """$/h by label that the provider charges for what it has, whatever it told us; None: it knows no prices."""

    def others_stand(self) -> bool:
        """Whether all machines that are not ours are still there."""


@dataclass
class FakeWorld:
    """The provider of the unit tests, which can do whatever a provider may do wrong."""

    clock: FakeClock = field(default_factory=FakeClock)
    name: str = "fake"
    budget_usd_per_hour: float = 2.0
    offers: tuple[tuple[str, str], ...] = (("offer", "offer"),)
    creates: tuple[str, ...] = ("", "refused", "429", "dropped before", "dropped after", "timeout", "bad")
    lists: tuple[str, ...] = ("failed", "truncated", "unreadable", "empty")
    list_points: tuple[str, ...] = ("", "C8")
    deletes: tuple[str, ...] = ("429", "500", "500 before")
    happenings: tuple[str, ...] = ("host gone", "price raised", "strange state", "duplicate label", "listed late")

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.clock)
        self.cloud.put_foreign("theirs", str(Label(SOMEBODY_ELSE, "d", "x")))
        self.cloud.put_foreign("unlabelled", "my notebook")

    def provisioner(self) -> Provisioner:
        return self.cloud

    def wanted(self, name: str, offer_id: str) -> Instance:
        return Instance(name, offer_id, "fake", "here", "CPU", 1, 4.0, 1.0)

    def spoil(self, operation: str, *faults: str) -> None:
        queues = {
            "create": self.cloud.lease_faults,
            "list": self.cloud.list_faults,
            "delete": self.cloud.release_faults,
        }
        _refill(queues[operation], faults)

    def happen(self, what: str) -> None:
        machine = next(iter(self.cloud.ours().values()))
        machines, number = self.cloud.machines, machine.provider_id
        match what:
            case "host gone":
                del machines[number]
            case "price raised":
                machines[number] = replace(machine, usd_per_hour=1.1 * machine.usd_per_hour)
                self.budget_usd_per_hour = 2.5
            case "strange state":
                machines[number] = replace(machine, state="hibernating-since-yesterday")
            case "duplicate label":
                machines[f"{number}-again"] = replace(machine, provider_id=f"{number}-again")
            case "listed late":
                self.cloud.lag_s = 60.0
                machines[number] = replace(machine, created_at=self.clock.at)

    def labels(self) -> list[str]:
        return [machine.label for machine in self.cloud.machines.values()]

    def bill(self) -> Mapping[str, float]:
        return {machine.label: machine.usd_per_hour for machine in self.cloud.machines.values()}

    def others_stand(self) -> bool:
        return {"theirs", "unlabelled"} <= self.cloud.machines.keys()


@dataclass
class VastLeaseWorld:
    """The fake Vast.ai on the wire: our adapter and the SDK's own client in between."""

    world: VastWorld
    name: str = "vast"
    budget_usd_per_hour: float = 1.0
    offers: tuple[tuple[str, str], ...] = (("11", "12"), ("11-bid", "12-bid"))
    creates: tuple[str, ...] = (
        *("", "taken", "429", "504 before", "504 after", "dropped before", "dropped after"),
        *("success:false with id", "400 with id", "no id", "html", "broken", "stuck", "wrong key as 404"),
        "daily quota used up",
    )
    lists: tuple[str, ...] = ("410", "429", "empty", "truncated", "schema", "null fields", "text", "wrong key as 404")
    list_points: tuple[str, ...] = ("", "C8")
    deletes: tuple[str, ...] = ("429", "500", "500 after", "404 after", "wrong key as 404")
    happenings: tuple[str, ...] = (
        *("host gone", "price raised", "outbid", "strange state", "duplicate label", "stuck loading"),
        "clock of the provider an hour off",
    )

    def __post_init__(self) -> None:
        market = self.world.market
        self.clock = self.world.clock
        self.foreign = {market.put_foreign(), market.put_foreign(str(Label(SOMEBODY_ELSE, "d", "x")))}

    def provisioner(self) -> Provisioner:
        self.clock.at += 5.0  # a process takes a moment to start: longer than a turn to create
        return self.world.provisioner()

    def wanted(self, name: str, offer_id: str) -> Instance:
        bid = offer_id.endswith("-bid")
        usd = 0.55 if offer_id.startswith("12") else 0.45
        return Instance(name, offer_id, "vast", "Texas, US", "A6000", 1, 47.4, usd, disk_gb=120.0, interruptible=bid)

    def spoil(self, operation: str, *faults: str) -> None:
        market = self.world.market
        market.owner_key = "another key" if "wrong key as 404" in faults else OWNER_KEY
        market.wrong_key_status = 404
        market.quota_used_up = "daily quota used up" in faults
        named = {"create": "create", "list": "list", "delete": "destroy"}[operation]
        _refill(market.faults.setdefault(named, deque()), [one for one in faults if one not in ELSEWHERE])

    def happen(self, what: str) -> None:
        contract, market = self.ours()[0], self.world.market
        match what:
            case "host gone":
                del market.contracts[contract.contract_id]
            case "price raised":
                contract.gpus_usd_per_hour *= 1.05
                self.budget_usd_per_hour = 1.1
            case "outbid":
                contract.stopped = True
            case "strange state":
                contract.state_word = "hibernating-since-yesterday"
            case "duplicate label":
                market.rent(contract.ask, contract.body)
            case "stuck loading":
                contract.stuck, market.boot_s = True, 60.0
            case "clock of the provider an hour off":
                contract.start_skew_s = 3600.0

    def labels(self) -> list[str]:
        return [str(contract.body.get("label")) for contract in self.world.market.contracts.values()]

    def bill(self) -> Mapping[str, float]:
        return {str(one.body.get("label")): one.dph_total for one in self.world.market.contracts.values()}

    def others_stand(self) -> bool:
        return self.foreign <= self.world.market.contracts.keys()

    def ours(self) -> list[Contract]:
        return [one for number, one in self.world.market.contracts.items() if number not in self.foreign]


@dataclass
class LocalWorld:
    """This host's own slots: nothing on the way that could fail, so only the kills count."""

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    name: str = "local"
    budget_usd_per_hour: float = 0.04
    offers: tuple[tuple[str, str], ...] = (("local-slot", "local-slot"),)
    creates: tuple[str, ...] = ("", "full")
    lists: tuple[str, ...] = ()
    list_points: tuple[str, ...] = ("",)
    deletes: tuple[str, ...] = ()
    happenings: tuple[str, ...] = ("host gone",)
    slots: int = 4

    def provisioner(self) -> LocalProvisioner:
        return LocalProvisioner(self.root, gpu=GPU, slots=self.slots, grace_s=1.0, now=self.clock)

    def wanted(self, name: str, offer_id: str) -> Instance:
        return Instance(name, offer_id, "local", "local", "CPU", 1, 4.0, 0.02)

    def spoil(self, operation: str, *faults: str) -> None:
        self.slots = len(self._machines()) if "full" in faults else 4

    def happen(self, what: str) -> None:
        shutil.rmtree(self.root / self._machines()[0].provider_id)

    def labels(self) -> list[str]:
        return [machine.label for machine in self._machines()]

    def bill(self) -> Mapping[str, float]:
        return {machine.label: 0.02 for machine in self._machines()}

    def others_stand(self) -> bool:
        return True

    def _machines(self) -> tuple[Machine, ...]:
        return asyncio.run(LocalProvisioner(self.root, gpu=GPU, slots=4).observe()).machines


def our_bill(world: LeaseWorld) -> float | None:
    """$/h that the provider charges us for all of ours."""
    bill = world.bill()
    found = ((Label.parse(text), usd) for text, usd in (bill or {}).items())
    return None if bill is None else sum(usd for label, usd in found if label and label.owner_id == OWNER)


def ours(world: LeaseWorld) -> list[str]:
    """The lease ids on machines of ours that bill, one for each machine."""
    labels = (Label.parse(text) for text in world.labels())
    return [label.lease_id for label in labels if label and label.owner_id == OWNER]


@contextmanager
def fake_world(_folder: Path) -> Iterator[LeaseWorld]:
    yield FakeWorld()


@contextmanager
def vast_lease_world(_folder: Path) -> Iterator[LeaseWorld]:
    with vast_world() as world:
        yield VastLeaseWorld(world)


@contextmanager
def local_world(folder: Path) -> Iterator[LeaseWorld]:
    yield LocalWorld(folder / "local")


WORLDS: dict[str, Callable[[Path], AbstractContextManager[LeaseWorld]]] = {
    "fake": fake_world,
    "vast": vast_lease_world,
    "local": local_world,
    "runpod": runpod_lease_world,
    "aws": aws_lease_world,
}
"""Each opens a fresh one; the folder is a temporary one of the case."""


def _refill(queue: deque[str], faults: Sequence[str]) -> None:
    queue.clear()
    queue.extend(faults)
