"""What agents and the router are told of one another when routes are put in force."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from planner.deployment import Codec, Phase
from provisioners.base import Listing, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from provisioners.leases.observe import Pace
from runtime.messages import AgentHealth, EngineHealth, Routes, RouteShare
from runtime.relay.ticket import AgentAddress
from tests.planner.plans import split_plan
from thunderctl.deploying import routes, site
from thunderctl.spec.spec import Spec


class FakeAgent:
    """An agent as the room sees it; `told` are the peers it was told to dial."""

    def __init__(self, lease_id, host, port):
        self.url, self.name = f"https://{host}:{port}", f"{lease_id}.agent.thunder"
        self.address = AgentAddress(host, port, self.name)
        self.told = None

    async def dial(self, peers):
        self.told = list(peers)

    async def health(self):
        """Of two engines, one of which has a model that says how long answers are."""
        engines = (EngineHealth("r0", "ready", default_max_tokens=512), EngineHealth("r1", "ready"))
        return AgentHealth(self.name, "v", engines=engines)


def row(instance):
    known = ("o", "d", "plan", instance, "vast", "Earth", f"o{instance[1:]}", "label", 1.0)
    return LeaseRow(f"lease-{instance}", *known, LeaseState.READY, 0.0, provider_id=f"m-{instance}")


class Deployment:
    """Three instances at 10.0.0.1 to 3; `hidden` ones can't be dialled."""

    def __init__(self, monkeypatch, hidden):
        rows = [row(f"i{number}") for number in range(3)]
        machines = tuple(
            Machine(r.provider_id, "label", "running", 1.0, f"10.0.0.{i + 1}", dialled=r.instance not in hidden)
            for i, r in enumerate(rows)
        )
        self.agents, self.said, self.pushed, self.listings = {}, [], [], 0

        async def observe():
            self.listings += 1
            return Listing(True, machines)

        async def agent_of(_world, _agents, row, machine):
            return self.agents.setdefault(row.instance, FakeAgent(row.lease_id, machine.address, 7000))

        async def push_plan(_world, _plan, addresses, *_):
            self.pushed.append(addresses)

        monkeypatch.setattr(site, "agent_of", agent_of)
        monkeypatch.setattr(routes, "push_plan", push_plan)
        provisioner = SimpleNamespace(observe=observe, consistent=True)
        store = SimpleNamespace(leases=lambda _: rows)
        self.site = site.Site(
            world=SimpleNamespace(name="d", store=store, provisioner=lambda _: provisioner),
            plan=split_plan(),
            spec=Spec(),
            engines={},
            agents=None,
            pace=Pace(),
            max_hours=1.0,
            narrate=lambda subject, _: self.said.append(subject),
            amended=lambda *_: None,
        )

    async def route(self):
        await routes.route(self.site)
        return {name: agent.told for name, agent in self.agents.items()}


@pytest.fixture
def deployment(monkeypatch):
    return lambda hidden=(): Deployment(monkeypatch, hidden)


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


async def test_replicas_are_reached_by_the_agent_of_their_first_instance(deployment):
    made = deployment()
    await made.route()
    [addresses] = made.pushed
    assert {name: (one.url, one.server_name) for name, one in addresses.items()} == {
        "r0": ("https://10.0.0.1:7000/r/r0", "lease-i0.agent.thunder"),
        "r1": ("https://10.0.0.1:7000/r/r1", "lease-i0.agent.thunder"),
        "r2": ("https://10.0.0.2:7000/r/r2", "lease-i1.agent.thunder"),
    }


async def test_the_router_is_told_how_long_an_engine_lets_an_answer_be(deployment):
    made = deployment()
    await made.route()
    [addresses] = made.pushed
    assert {name: one.default_max_tokens for name, one in addresses.items()} == {"r0": 512, "r1": None, "r2": None}
    share = RouteShare("r0", "r0", 1.0, Codec.LOCAL)
    document = Routes(1, "tiny", (replace(addresses["r0"], phase=Phase.MIXED),), (share,)).to_json()
    assert Routes.from_json(document).default_max_tokens == 512
