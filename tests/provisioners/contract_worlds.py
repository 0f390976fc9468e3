"""The worlds of the contract suite, those of the matrix of crashes and own hosts; and how machines are had in them."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from planner.deployment import Instance
from provisioners.base import Label, LeaseRequest, Machine, Provisioner
from provisioners.ssh.host import SshHost
from tests.provisioners.fakes import OWNER, FakeClock
from tests.provisioners.lease_worlds import WORLDS, FakeWorld, LeaseWorld
from tests.provisioners.sshd import ssh_provisioner, ssh_servers


@dataclass
class SshWorld:
    """Two hosts of one's own, behind real SSH servers. Nobody else sells them, so nothing of a market can go wrong."""

    hosts: list[SshHost]
    folder: Path
    ending: ExitStack
    name: str = "ssh"
    clock: FakeClock = field(default_factory=FakeClock)
    budget_usd_per_hour: float = 1.0
    offers: tuple[tuple[str, str], ...] = (("host0", "host1"),)
    creates: tuple[str, ...] = ("",)
    lists: tuple[str, ...] = ()
    list_points: tuple[str, ...] = ("",)
    deletes: tuple[str, ...] = ()
    happenings: tuple[str, ...] = ()

    def provisioner(self) -> Provisioner:
        provisioner = ssh_provisioner(self.hosts, self.folder)
        self.ending.callback(provisioner.close)
        return provisioner

    def wanted(self, name: str, offer_id: str) -> Instance:
        return Instance(name, offer_id, "ssh", "", "CPU", 1, 1.6, 0.02)

    def spoil(self, operation: str, *faults: str) -> None:
        assert not faults

    def happen(self, what: str) -> None:
        raise NotImplementedError

    def labels(self) -> list[str]:
        return [machine.label for machine in machines(self)]

    def others_stand(self) -> bool:
        return True


@contextmanager
def ssh_world(folder: Path) -> Iterator[LeaseWorld]:
    with ssh_servers(folder, 2) as hosts, ExitStack() as ending:
        yield SshWorld(hosts, folder / "home", ending)


@contextmanager
def small_fake_world(_folder: Path) -> Iterator[LeaseWorld]:
    """With room for two machines beside those of others."""
    world = FakeWorld()
    world.cloud.capacity = 4
    yield world


Opened = Callable[[Path], AbstractContextManager[LeaseWorld]]
OPENED: dict[str, Opened] = {**WORLDS, "fake": small_fake_world, "ssh": ssh_world}
CREATES_SENT: dict[str, Callable[..., int]] = {
    "fake": lambda world: len(world.cloud.asked),
    "vast": lambda world: sum(method == "PUT" for method, _, _ in world.world.market.asked),
    "aws": lambda world: len(world.world.cloud.operations("RunInstances")),
    "runpod": lambda world: sum(method == "POST" for method, _, _ in world.cloud.asked),
}
"""How many creates reached the provider, where that can be seen."""


def ask(world: LeaseWorld, number: int = 0, deployment: str = "d") -> LeaseRequest:
    """For the world's first or second offer, by a label that nobody ever bore."""
    wanted = world.wanted(f"i{number}", world.offers[0][number])
    label = Label(OWNER, deployment, str(uuid.uuid4()))
    return LeaseRequest(label, wanted.offer_id, wanted.usd_per_hour, wanted.interruptible, wanted.disk_gb)


def lease(world: LeaseWorld, number: int = 0, deployment: str = "d") -> Machine:
    return asyncio.run(world.provisioner().lease(ask(world, number, deployment)))


def release(world: LeaseWorld, machine: Machine) -> None:
    asyncio.run(world.provisioner().release(machine.provider_id))


def machines(world: LeaseWorld) -> tuple[Machine, ...]:
    """As a complete listing shows them, to a process that remembers nothing."""
    listing = asyncio.run(world.provisioner().observe())
    assert listing.complete, listing.reason
    return listing.machines


def listed(world: LeaseWorld, machine: Machine) -> Machine | None:
    return next((one for one in machines(world) if one.provider_id == machine.provider_id), None)


def happens(opened: Opened, folder: Path, *whats: str) -> Iterator[tuple[LeaseWorld, Machine, str]]:
    """A machine as it was listed, in a world of its own, before it happened; for each of these that are known there."""
    for world, what in worlds_with(opened, folder, lambda world: tuple(set(whats) & set(world.happenings))):
        machine = listed(world, lease(world))
        assert machine is not None
        world.happen(what)
        yield world, machine, what


def worlds_with(
    opened: Opened, folder: Path, faults: Callable[[LeaseWorld], tuple[str, ...]]
) -> Iterator[tuple[LeaseWorld, str]]:
    """One for each of its faults; skips the test where there are none."""
    with opened(folder / "first") as world:
        first, *others = faults(world) or [None]
        if first is None:
            pytest.skip(f"Nothing of this kind can go wrong with {world.name} here.")
        yield world, first
    for number, fault in enumerate(others):
        with opened(folder / str(number)) as world:
            yield world, fault
