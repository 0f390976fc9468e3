"""A replica that leaves the routes is waited for: a real router process, with a stream open on it."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
import pytest

from planner.crossover import local_below_tokens, local_rates
from planner.deployment import Codec, Phase
from planner.errors import HostError, Incomplete
from runtime.messages import ReplicaAddress, Routes, RouteShare, agent_name
from tests.fakes import FakeEngine, serving
from tests.planner.plans import split_plan
from thunderctl.deploying import routing
from thunderctl.spec.sections import ServeSection
from thunderctl.spec.spec import Spec
from thunderctl.store.store import Store
from thunderctl.world import World

# The router outlives the command that starts it: nobody waits for it.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

PAIRS = (("p0", "d0"), ("p0", "d1"))


def routes(engines, epoch, pairs):
    names = dict.fromkeys(name for pair in pairs for name in pair)
    phases = {"p": Phase.PREFILL, "d": Phase.DECODE}
    replicas = tuple(ReplicaAddress(name, phases[name[0]], engines[name].url) for name in names)
    return Routes(epoch, "tiny", replicas, tuple(RouteShare(p, d, 1 / len(pairs), Codec.RAW) for p, d in pairs))


@pytest.fixture
async def world(tmp_path):
    with Store(f"sqlite:///{tmp_path}/store.db") as store:
        made = World("default", store, tmp_path / "deployment")
        made.router_tls()
        yield made
        await made.router.stop()


async def stream(world, engines):
    """Open one stream; returns the engine it decodes on, its answer, and the session."""
    session = aiohttp.ClientSession()
    body = {"model": "tiny", "prompt": "hi", "stream": True, "max_tokens": 3}
    answer = await session.post(f"{world.router.endpoint}/completions", json=body)
    await answer.content.readany()
    return next(name for name, engine in engines.items() if name[0] == "d" and engine.seen), answer, session


async def test_a_replica_that_left_the_routes_is_drained_before_it_is_stopped(world, monkeypatch):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", drip=True), "d1": FakeEngine("d", drip=True)}
    monkeypatch.setattr(routing, "SAY_EVERY_S", 0.2)
    async with serving(*engines.values()):
        await world.router.serve(routes(engines, 1, PAIRS), ServeSection(listen="127.0.0.1:0"))
        busy, answer, session = await stream(world, engines)
        left = next(pair for pair in PAIRS if pair[1] != busy)
        await world.router.serve(routes(engines, 2, [left]), ServeSection())

        with monkeypatch.context() as hurried:
            hurried.setattr(routing, "DRAIN_DEADLINE_S", 0.0)
            with pytest.raises(Incomplete, match=f"{busy} still has 1 requests"):
                await routing.drain(world, busy, lambda *_: None, lease_id="l0")

        told = []
        draining = asyncio.create_task(routing.drain(world, busy, lambda *words: told.append(words), lease_id="l0"))
        while not told:
            await asyncio.sleep(0.01)
        assert told[0] == (busy, "draining, 1 requests left")
        engines[busy].released.set()
        assert b"[DONE]" in await answer.content.read()
        await asyncio.wait_for(draining, 10)
        await session.close()


async def test_draining_takes_a_replica_out_of_the_routes_that_still_have_it(world):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d"), "d1": FakeEngine("d")}
    async with serving(*engines.values()):
        await world.router.serve(routes(engines, 1, PAIRS), ServeSection(listen="127.0.0.1:0"))
        await routing.drain(world, "d0", lambda *_: None, lease_id="l0")
        after = world.router.routes()
        assert after is not None
        assert [(route.prefill, route.decode) for route in after.routes] == [("p0", "d1")]
        assert after.epoch == 2


async def test_an_engine_whose_name_another_machine_has_taken_is_drained_and_its_successor_stays_in_the_routes(world):
    """The stream on the old one is waited for; the new one goes on with requests of its own."""
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", drip=True), "d1": FakeEngine("d", drip=True)}
    async with serving(*engines.values()):
        await world.router.serve(routes(engines, 1, PAIRS), ServeSection(listen="127.0.0.1:0"))
        busy, answer, session = await stream(world, engines)
        after = routes(engines, 2, PAIRS)
        elsewhere = {"url": "https://127.0.0.1:1", "server_name": agent_name("new")}
        named = [replace(one, **elsewhere) if one.id == busy else one for one in after.replicas]
        await world.router.serve(replace(after, replicas=tuple(named)), ServeSection())

        told = []
        waiting = routing.drain(world, busy, lambda *words: told.append(words), lease_id="old")
        draining = asyncio.create_task(waiting)
        async with asyncio.timeout(10):
            while not told:
                await asyncio.sleep(0.01)
        assert told[0] == (busy, "draining, 1 requests left")
        assert world.router.routes().epoch == 2
        engines[busy].released.set()
        assert b"[DONE]" in await answer.content.read()
        await asyncio.wait_for(draining, 10)
        await session.close()


class Unlinked:
    """A router elsewhere whose link has died: it has `requests`, and can be asked once it is linked again."""

    def __init__(self, requests, refuses=False):
        self.requests, self.refuses = requests, refuses
        self.is_unlinked, self.links = True, 0

    @property
    def may_run(self):
        return True

    def routes(self):
        addresses = ReplicaAddress("p0", Phase.PREFILL, "http://x"), ReplicaAddress("d0", Phase.DECODE, "http://x")
        return Routes(1, "tiny", addresses, (RouteShare("p0", "d0", 1.0, Codec.RAW),))

    async def drained(self, _replica, _wait_s):
        if self.is_unlinked:
            raise HostError("The router has no link from here.")
        return self.requests.pop(0)

    async def link_again(self, _serving):
        if self.refuses:
            raise HostError("The host does not answer.")
        self.is_unlinked, self.links = False, self.links + 1


def over(router):
    return SimpleNamespace(router=router, spec=Spec)


async def test_a_router_that_no_link_leads_to_is_linked_again_and_waited_for():
    told = []
    for waits in (
        lambda router: routing.drain(over(router), "d1", lambda *words: told.append(words), lease_id="l0"),
        lambda router: routing.finished(over(router), "d1", lambda *words: told.append(words)),
    ):
        router = Unlinked([2, 1, 0])
        await waits(router)
        assert (router.links, router.requests) == (1, [])
    assert [text for _, text in told] == ["draining, 2 requests left", "draining, 1 requests left"] * 2


async def test_nothing_counts_as_drained_while_the_host_of_the_router_is_silent():
    with pytest.raises(HostError, match="does not answer"):
        await routing.drain(over(Unlinked([], refuses=True)), "d1", lambda *_: None, lease_id="l0")


def test_the_router_is_told_which_prompts_need_no_transfer_and_how_much_of_them_decode_replicas_bear():
    plan = split_plan()
    shares = routing.shares_of(plan)
    assert [share.local_below_tokens for share in shares] == local_below_tokens(plan)
    assert shares[0].local_below_tokens > 0
    addresses = {replica.id: ReplicaAddress(replica.id, replica.phase, "http://x") for replica in plan.replicas}
    told = {replica.id: replica.local_tokens_per_s for replica in routing.replicas_of(plan, addresses)}
    assert told == {"r0": 0.0, **local_rates(plan), "r2": 0.0}
    assert told["r1"] > 0


def test_a_replica_holds_what_its_kv_and_its_pace_allow():
    """Of the plan's mean request: 1,000 prompt tokens, and half of 200 written."""
    planned = split_plan()
    lengths = replace(planned.workload, prompt_tokens_mean=1000.0, output_tokens_mean=200.0)
    plan = replace(planned, workload=lengths, slo=replace(planned.slo, ttft_s=2.0))
    prefill, decode = (next(r for r in plan.replicas if r.phase is phase) for phase in (Phase.PREFILL, Phase.DECODE))
    assert routing.max_requests(plan, replace(decode, kv_capacity_tokens=11_000)) == 10
    assert routing.max_requests(plan, replace(decode, kv_capacity_tokens=10**9)) == 256  # vLLM runs no more together
    assert routing.max_requests(plan, replace(prefill, kv_capacity_tokens=10**9, capacity_rps=3.4)) == 7
    assert routing.max_requests(plan, replace(prefill, kv_capacity_tokens=11_000, capacity_rps=0.0)) == 1
