"""What agents are told of one another, by a Deployer whose machines and agents are values."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from planner.reconcile import Step, StepKind
from provisioners.base import Listing, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.agent.config import AgentConfig
from runtime.messages import AgentHealth
from runtime.relay.tickets import AgentAddress
from tests.planner.plans import split_plan
from thunderctl import deploy
from thunderctl.deploy import CREDENTIALS, Deployer
from thunderctl.spec import Spec


class FakeAgent:
    """An agent as the Deployer sees it; `told` are the peers it was told to dial."""

    def __init__(self, lease_id, host, port):
        self.url, self.name = f"https://{host}:{port}", f"{lease_id}.agent.thunder"
        self.address = AgentAddress(host, port, self.name)
        self.told = None

    async def dial(self, peers):
        self.told = list(peers)

    async def health(self):
        return AgentHealth("i", "v")


def row(instance):
    known = ("o", "d", "plan", instance, "vast", "Earth", "offer", "label", 1.0)
    return LeaseRow(f"lease-{instance}", *known, LeaseState.READY, 0.0, provider_id=f"m-{instance}")


class Deployment:
    """Three instances at 10.0.0.1 to 3; `hidden` ones can't be dialled. `prepared` are agents' configurations."""

    def __init__(self, tmp_path, monkeypatch, hidden, address="10.0.0.{}", engine_python=""):
        rows = [row(f"i{number}") for number in range(3)]
        machines = [
            Machine(r.provider_id, "label", "running", 1.0, address.format(i + 1), dialled=r.instance not in hidden)
            for i, r in enumerate(rows)
        ]
        machines = [replace(machine, engine_python=engine_python) for machine in machines]
        self.pythons = []
        self.agents, self.said, self.prepared = {}, [], []
        tls = tmp_path / "tls"
        tls.mkdir()
        for name in CREDENTIALS:
            (tls / name).write_bytes(b"")

        async def observe():
            return Listing(True, tuple(machines))

        async def agent_of(_world, _agents, row, machine):
            return self.agents.setdefault(row.instance, FakeAgent(row.lease_id, machine.address, 7000))

        async def prepare(_transport, host, **_):
            self.pythons.append(host.engine_python)
            self.prepared.append(AgentConfig.from_json(json.loads(host.agent_config)))

        async def push_plan(*_):
            return 1

        for name, fake in {"agent_of": agent_of, "prepare": prepare, "push_plan": push_plan}.items():
            monkeypatch.setattr(deploy, name, fake)
        provisioner = SimpleNamespace(observe=observe, transport=lambda _: None)
        store = SimpleNamespace(leases=lambda _: rows, record=lambda *_: None)
        world = {"name": "d", "store": store, "provisioner": lambda _: provisioner, "agent_tls": lambda _: tls}
        self.deployer = Deployer(
            world=SimpleNamespace(**world),
            plan=split_plan(),
            spec=Spec(),
            engines={"r0": SimpleNamespace(model="m")},
            engine_python="python",
            payload=SimpleNamespace(data=b"", digest="digest"),
            agents=None,
            narrate=lambda subject, _: self.said.append(subject),
            max_hours=1,
        )

    async def route(self):
        await self.deployer.do(Step(StepKind.ROUTE, "routes"))
        return {name: agent.told for name, agent in self.agents.items()}

    async def prepare(self, instance):
        await self.deployer.do(Step(StepKind.PREPARE, instance))
        return self.prepared[-1]


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    return lambda hidden=(), **known: Deployment(tmp_path, monkeypatch, hidden, **known)


async def test_an_agent_that_nobody_can_dial_is_told_to_dial_all_that_can_be(deployment):
    made = deployment(hidden={"i0"})
    told = await made.route()
    peers = [AgentAddress(f"10.0.0.{i + 1}", 7000, f"lease-i{i}.agent.thunder") for i in (1, 2)]
    assert told == {"i0": peers, "i1": None, "i2": None}
    assert made.said == []


async def test_agents_that_can_be_dialled_are_told_nothing(deployment):
    assert set((await deployment().route()).values()) == {None}


async def test_where_nobody_can_be_dialled_it_is_said(deployment):
    made = deployment(hidden={"i0", "i1", "i2"})
    assert set(map(str, (await made.route()).values())) == {"[]"}
    assert made.said == ["i0", "i1", "i2"]


async def test_an_agents_configuration_says_where_it_is_dialled_and_whether_it_can_be(deployment):
    made = deployment(hidden={"i1"})
    dialled, hidden = await made.prepare("i0"), await made.prepare("i1")
    assert (dialled.host, dialled.advertise_host, dialled.dialled) == ("0.0.0.0", "10.0.0.1", True)
    assert (hidden.advertise_host, hidden.dialled) == ("10.0.0.2", False)


async def test_on_this_host_an_agent_listens_for_nobody_else(deployment):
    config = await deployment(address="127.0.0.1").prepare("i0")
    assert (config.host, config.advertise_host, config.dialled) == ("127.0.0.1", "127.0.0.1", True)


@pytest.mark.parametrize(("known", "used"), [("", "python"), ("/opt/engine/bin/python", "/opt/engine/bin/python")])
async def test_engines_run_on_the_interpreter_that_the_machine_states_else_on_this_hosts(deployment, known, used):
    made = deployment(engine_python=known)
    await made.prepare("i0")
    assert made.pythons == [used]
