"""An engine is awaited through a line's bad moments, and no longer; in virtual time."""

import asyncio
from types import SimpleNamespace

import pytest

from planner.errors import HostError, ReplicaUnhealthy
from provisioners.base import Listing, Machine
from provisioners.leases.journal import LeaseRow, LeaseState
from runtime.messages import AgentHealth, EngineHealth
from tests.planner.plans import split_plan
from tests.virtual_time import VirtualLoop
from thunderctl.deploying import starting
from thunderctl.deploying.starting import SILENT_S, start, stop
from thunderctl.deploying.turns import Throughout
from thunderctl.spec.spec import Spec


class Agent:
    """Its engine is in the state that `states` has for the second; None: nothing answers then."""

    def __init__(self, **states):
        self.states = {int(name.removeprefix("at_")): state for name, state in states.items()}
        self.stopped = []

    async def start(self, spec):
        assert spec == "the engine of r0"

    async def health(self):
        now = asyncio.get_running_loop().time()
        state = self.states[max(at for at in self.states if at <= now)]
        if state is None:
            raise HostError("no answer in time")
        return AgentHealth("i0", "v", engines=(EngineHealth("r0", state, detail="out of memory"),))

    async def log(self, replica, lines):
        return f"the last {lines} lines of {replica}"

    async def stop(self, replica):
        self.stopped.append(replica)


def site_of(agent):
    async def met(_instance):
        return agent

    return SimpleNamespace(
        agent=met,
        engines={"r0": "the engine of r0"},
        clock=lambda: asyncio.get_running_loop().time(),
        spec=Spec.model_validate({"leases": {"ready_deadline_s": 100}}),
        narrate=lambda *_: None,
        turn=Throughout(),
    )


def started(agent):
    """How many seconds it took."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(start(site_of(agent), split_plan().replica("r0")))
        return runner.get_loop().time()


def test_it_returns_when_the_engine_is_ready():
    assert started(Agent(at_0="starting", at_40="ready")) == 40


def test_a_line_may_be_silent_for_a_while():
    assert started(Agent(at_0="starting", at_20=None, at_40="ready")) == 40


def test_an_agent_that_stays_silent_is_an_error():
    with pytest.raises(HostError, match="no answer in time"):
        started(Agent(at_0="starting", at_20=None, at_60="ready"))
    assert SILENT_S < 40


def test_an_engine_that_fails_or_takes_too_long_says_why():
    with pytest.raises(ReplicaUnhealthy, match="out of memory"):
        started(Agent(at_0="starting", at_20="failed"))
    with pytest.raises(ReplicaUnhealthy, match="the last 20 lines of r0"):
        started(Agent(at_0="starting"))


def row(name, state):
    known = ("o", "d", "plan", name, "vast", "Earth", "offer", "label", 1.0)
    return LeaseRow(f"lease-{name}", *known, state, 0.0, provider_id=f"m-{name}")


async def test_an_engine_is_stopped_on_its_own_machine_and_not_where_another_bears_its_name(monkeypatch):
    agents = {"lease-i0": Agent(at_0="ready"), "lease-i1": Agent(at_0="ready")}

    async def agent_of(_world, _agents, found, _machine):
        return agents[found.lease_id]

    async def listing(_provider):
        return Listing(True, tuple(Machine(f"m-i{n}", "label", "running", 1.0) for n in range(3)))

    monkeypatch.setattr(starting, "agent_of", agent_of)
    rows = [row("i0", LeaseState.READY), row("i1", LeaseState.READY)]
    site = SimpleNamespace(rows=lambda: rows, listing=listing, world=None, agents=None)
    await stop(site, "r0", "lease-i1")
    assert [agent.stopped for agent in agents.values()] == [[], ["r0"]]
    await stop(site, "r0", "a lease that is gone")
    assert [agent.stopped for agent in agents.values()] == [[], ["r0"]]
