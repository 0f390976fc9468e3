"""Agents that answer, that answer nonsense, and that don't: over real mutual TLS, and nothing of it is raised."""

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import web

from planner.errors import HostError, ProvisioningError
from provisioners.base import Machine
from provisioners.leases.journal import LeaseState
from runtime.messages import CONTROLLER_NAME, AgentHealth, EngineHealth, agent_name
from runtime.tls import client_context, server_context
from tests.thunderctl.controller.situations import row
from thunderctl.controller import contact
from thunderctl.controller.contact import Contact
from thunderctl.keys.certificates import ensure_authority, issue
from thunderctl.processes.agents import Agents

ROW = row("i0")
MACHINE = Machine(ROW.provider_id, ROW.label, "running", 1.0, "127.0.0.1")
WELL = json.dumps(AgentHealth("i0", "1", engines=(EngineHealth("r0", "ready"),)).to_json())


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    ensure_authority(folder / "ca")
    for name in (CONTROLLER_NAME, agent_name(ROW.lease_id)):
        issue(folder / "ca", name, folder / name)
    return folder


class Answering:
    """An agent that answers `says`, `hang`s or is not there; `asked` counts. Its file is read over a transport."""

    def __init__(self):
        self.says, self.status, self.hang, self.asked, self.port = WELL, 200, False, 0, 0
        self.file = None
        self.guarded, self.knocked = False, 0

    async def health(self, _request):
        self.asked += 1
        if self.hang:
            await asyncio.sleep(60)
        return web.Response(text=self.says, status=self.status, content_type="application/json")

    def transport(self, _machine):
        return self

    async def let_in(self, owner_id, deployment, fleet):
        raise AssertionError("the fleet is let in by `up` alone")

    async def let_operator_in(self, _owner_id, deployment):
        assert deployment == "d"
        self.guarded, self.knocked = False, self.knocked + 1

    async def get(self, _path):
        if self.guarded:
            raise HostError("nobody answers")
        if self.file is not None:
            return self.file
        if not self.port:
            raise HostError("run/agent.pid.json is not there.")
        return json.dumps({"port": self.port}).encode()


@asynccontextmanager
async def in_contact(tls):
    agent = Answering()
    app = web.Application()
    app.router.add_get("/health", agent.health)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    context = server_context(tls / agent_name(ROW.lease_id))
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    agent.port = runner.addresses[0][1]
    world = SimpleNamespace(name="d", provisioner=lambda _: agent)
    async with Agents(client_context(tls / CONTROLLER_NAME)) as agents:
        found = Contact(world, agents)
        yield agent, found
        found.close()
    await runner.cleanup()


async def view(found, machines=None):
    (seen,) = await found.hear([ROW], {ROW.lease_id: MACHINE} if machines is None else machines)
    return seen


async def answered(found):
    """The view after the search for where it listens has ended."""
    async with asyncio.timeout(20):
        while (seen := await view(found)).health is None:
            await asyncio.sleep(0.01)
    return seen


async def test_an_agent_is_looked_for_once_and_then_asked_each_time(tls):
    async with in_contact(tls) as (agent, found):
        assert "not reached yet" in (await view(found)).problem
        assert (await answered(found)).engines[0].replica == "r0"
        agent.file = b"never read again"
        before = agent.asked
        assert (await view(found)).health
        assert agent.asked == before + 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"engines": 3}',
        '{"engines": [{"what": 1}]}',
        '{"engines": [], "surprise": 1}',
        "{}",
    ],
)
async def test_an_agent_that_answers_nonsense_is_one_that_does_not_answer(tls, nonsense):
    async with in_contact(tls) as (agent, found):
        await answered(found)
        agent.says = nonsense
        seen = await view(found)
        assert seen.health is None
        assert seen.problem
        agent.says = WELL
        assert (await answered(found)).health


async def test_an_agent_that_hangs_is_missed_in_time(tls, monkeypatch):
    monkeypatch.setattr(contact, "ANSWER_S", 0.1)
    async with in_contact(tls) as (agent, found):
        agent.hang = False
        async with asyncio.timeout(20):
            while (await view(found)).health is None:
                await asyncio.sleep(0.01)
        agent.hang = True
        assert (await view(found)).problem == "its agent did not answer within 0.1 s"


async def test_an_agent_that_refuses_says_so(tls):
    async with in_contact(tls) as (agent, found):
        await answered(found)
        agent.status, agent.says = 403, '{"error": {"message": "not open to this certificate"}}'
        assert "not open to this certificate" in (await view(found)).problem


@pytest.mark.parametrize("file", [b"", b"[]", b"{}", b"\xff"])
async def test_a_file_that_does_not_say_where_it_listens_is_a_problem_like_any_other(tls, file):
    async with in_contact(tls) as (agent, found):
        agent.file = file
        async with asyncio.timeout(20):
            while "not reached yet" in (seen := await view(found)).problem:
                await asyncio.sleep(0.01)
        assert "does not say where its agent listens" in seen.problem


async def test_who_is_looked_for_for_the_first_time_is_pending_and_afterwards_missed(tls):
    async with in_contact(tls) as (agent, found):
        assert (await view(found)).pending
        await answered(found)
        agent.port, agent.status = 0, 500
        assert not (await view(found)).pending
        while (seen := await view(found)).problem == "its agent was not reached yet":
            assert not seen.pending
            await asyncio.sleep(0.01)


async def test_who_can_not_be_found_in_time_is_pending_no_more(tls):
    async with in_contact(tls) as (_, found):
        at = 0.0
        found.clock = lambda: at
        assert (await view(found, {})).pending
        at = contact.FIRST_S
        assert not (await view(found, {})).pending


async def test_an_agent_that_listens_elsewhere_now_is_found_again(tls):
    async with in_contact(tls) as (first, found), in_contact(tls) as (second, _):
        await answered(found)
        first.status, first.port = 500, second.port
        await view(found)
        assert (await answered(found)).agent.port == second.port


async def test_a_machine_that_is_not_listed_is_not_looked_for(tls):
    async with in_contact(tls) as (_, found):
        assert "not reached yet" in (await view(found, {})).problem
        assert not found._searches


async def test_leases_that_do_not_run_are_not_spoken_to(tls):
    async with in_contact(tls) as (_, found):
        ended = ROW.moved(LeaseState.GONE)
        assert await found.hear([ended], {}) == []


async def test_who_has_another_address_by_now_knocks_before_the_machine_is_looked_for_and_seldom(tls):
    async with in_contact(tls) as (agent, found):
        agent.guarded = True
        assert (await answered(found)).health
        assert agent.knocked == 1
        agent.port = 0
        found._clients.clear()
        while (await view(found)).problem == "its agent was not reached yet":
            await asyncio.sleep(0.01)
        assert agent.knocked == 1


async def test_a_provider_that_lets_nobody_in_keeps_nobody_from_looking(tls):
    async with in_contact(tls) as (agent, found):

        async def refuses(_owner_id, _deployment):
            raise ProvisioningError("the key may not")

        agent.let_operator_in = refuses
        assert (await answered(found)).health


async def test_who_is_doubted_is_not_waited_for_long(tls, monkeypatch):
    """What the router has given up as well is missed by both, and every moment counts then."""
    monkeypatch.setattr(contact, "ANSWER_S", 3600.0)
    async with in_contact(tls) as (agent, found):
        await answered(found)
        agent.hang, before = True, agent.asked
        waiting = asyncio.ensure_future(view(found))
        while agent.asked == before:
            await asyncio.sleep(0.01)
        found.doubt(["another"])
        assert not (await asyncio.wait({waiting}, timeout=2 * contact.DOUBTED_S))[0]
        found.doubt([ROW.lease_id])
        assert (await waiting).health is None


async def test_a_doubt_gives_nobody_more_time(tls, monkeypatch):
    monkeypatch.setattr(contact, "ANSWER_S", 0.05)
    monkeypatch.setattr(contact, "DOUBTED_S", 3600.0)
    async with in_contact(tls) as (agent, found):
        await answered(found)
        agent.hang = True
        waiting = asyncio.ensure_future(view(found))
        await asyncio.sleep(0)
        found.doubt([ROW.lease_id])
        assert "did not answer within 0.05 s" in (await waiting).problem
