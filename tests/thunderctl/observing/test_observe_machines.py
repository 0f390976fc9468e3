"""What is seen of a rented machine: why it is of no use, what may pass, and where its agent is reached."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from planner.errors import HostError
from provisioners.base import Listing, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.transport import Completed
from runtime.tls import client_context
from thunderctl.observing.observe import AGENT_FILE, agent_of, observe
from thunderctl.processes.agents import Agents
from thunderctl.world import open_world

ROW = LeaseRow("l0", "owner", "d", "plan", "i0", "vast", "Earth", "o", "label", 1.0, LeaseState.SENT, 0.0)


@dataclass
class Host:
    """A machine whose agent listens on 8443, or that nobody gets onto."""

    answers: bool = True
    asked: int = 0

    async def run(self, command: str, *, timeout_s: float, stdin: bytes = b"") -> Completed:
        raise AssertionError(f"nobody wants to run {command}")

    async def get(self, path: str) -> bytes:
        assert path == AGENT_FILE
        self.asked += 1
        if not self.answers:
            raise HostError("It can't be reached.")
        return json.dumps({"port": 8443}).encode()


@dataclass
class Provider:
    machines: Sequence[Machine]
    host: Host

    async def observe(self) -> Listing:
        return Listing(True, tuple(self.machines))

    def transport(self, machine: Machine) -> Host:
        return self.host


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path))
    with open_world("d") as made:
        made.store.add_lease(ROW)
        made.store.update_lease(ROW.moved(LeaseState.CREATED), was=LeaseState.SENT)
        yield made


async def view_of(world, host: Host, **machine):
    world._provisioners["vast"] = Provider([Machine("7", "label", "running", 1.0, "203.0.113.9", **machine)], host)
    async with Agents(client_context(world.operator_tls)) as agents:
        return (await observe(world, agents)).instances[0]


async def test_a_machine_that_is_of_no_use_is_not_asked_and_says_why(world):
    host = Host()
    view = await view_of(world, host, problem="outbid: it is stopped, and bills its disk")
    assert view.problem == "outbid: it is stopped, and bills its disk"
    assert not host.asked


async def test_where_nobody_answers_the_providers_word_for_it_is_shown(world):
    assert (await view_of(world, Host(answers=False))).problem == "It can't be reached."
    offline = await view_of(world, Host(answers=False), trouble="offline: Vast.ai does not reach its host")
    assert offline.problem == "offline: Vast.ai does not reach its host"


@pytest.mark.parametrize(
    ("ports", "url", "asked"),
    [({8443: 40123}, "https://203.0.113.9:40123", 0), ({}, "https://203.0.113.9:8443", 1)],
    ids=["it is known from which port", "the machine says on which"],
)
async def test_its_agent_is_reached_at_the_outer_port_and_ssh_is_needed_only_where_none_is_known(
    world, ports, url, asked
):
    host = Host()
    world._provisioners["vast"] = Provider([Machine("7", "label", "running", 1.0, "203.0.113.9", ports=ports)], host)
    async with Agents(client_context(world.operator_tls)) as agents:
        agent = await agent_of(world, agents, ROW, world._provisioners["vast"].machines[0])
    assert (agent.url, host.asked) == (url, asked)


async def test_a_machine_is_known_by_its_providers_id_and_instances_come_in_the_order_of_their_names(world):
    """Two machines bear one label: a lease was sent twice. And i10 was leased before i2."""
    for name in ("i10", "i2"):
        made = replace(ROW, lease_id=f"l-{name}", instance=name, label=f"label-{name}")
        world.store.add_lease(made)
        world.store.update_lease(replace(made.moved(LeaseState.CREATED), provider_id=name), was=LeaseState.SENT)
    machines = [Machine(name, "label-i2", "running", 1.0, f"203.0.113.{at}") for at, name in enumerate(("i2", "i9"), 1)]
    world._provisioners["vast"] = Provider(machines, Host(answers=False))
    async with Agents(client_context(world.operator_tls)) as agents:
        seen = (await observe(world, agents)).instances
    assert [(view.lease.instance, view.machine and view.machine.provider_id) for view in seen] == [
        ("i0", None),
        ("i2", "i2"),
        ("i10", None),
    ]
