"""Decode legs that begin while prefill computes: an agent says the ticket early, in an interim answer."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import pytest

from runtime.agent.proxy import INTERIM, TICKET
from runtime.router.carrying.prefilling import Prefilling
from runtime.router.legs.transfer import CACHED
from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine
from tests.runtime.router.replay.test_replay import COMPLETION, assert_one_answer, stream
from tests.runtime.routing import PAIR, behind_agents, soon
from tests.runtime.token_engine import TokenEngine

TWO = [*PAIR, ("p1", "d0", 0.001, "int4")]


@dataclass
class EarlyEngine(FakeEngine):
    """A prefill engine whose agent says `said` as soon as its prompt begins to be computed, which `hang` holds up."""

    hang: bool = True
    said: str = ""

    async def _complete(self, request):
        body = await request.json()
        if body["kv_transfer_params"].get("stream"):
            said = self.said or json.dumps(self._ticket(request) | {CACHED: 7})
            request.transport.write(INTERIM % (TICKET.encode(), said.encode()))
        return await super()._complete(request)


async def test_decode_begins_while_the_prompt_is_computed(tmp_path):
    engines = {"p0": EarlyEngine("p"), "d0": FakeEngine("d", hang=True)}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["d0"].arrived)
        assert not engines["p0"].released.is_set()
        assert engines["d0"].seen[0].transfer[CACHED] == 7
        engines["p0"].released.set()
        engines["d0"].released.set()
        assert (await asking)[0] == 200
        assert len(engines["p0"].seen) == len(engines["d0"].seen) == 1
        assert engines["p0"].dropped == []


async def test_an_answer_does_not_wait_for_what_prefill_says_in_the_end(tmp_path):
    engines = {"p0": EarlyEngine("p"), "d0": FakeEngine("d")}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        assert (await router.post(prompt="hi"))[0] == 200
        assert len(await router.events(prompt="hi")) > 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_prefill_that_breaks_off_takes_its_decode_leg_with_it_and_another_pair_answers(tmp_path, streamed):
    engines = {"p0": EarlyEngine("p", status=503), "p1": EarlyEngine("q", hang=False), "d0": FakeEngine("d", hang=True)}
    decode = engines["d0"]
    async with behind_agents(tmp_path, engines, TWO) as router:
        asking = asyncio.create_task(router.events(prompt="hi") if streamed else router.post(prompt="hi"))
        await soon(decode.arrived)
        engines["p0"].released.set()
        await soon(decode.cancelled)
        decode.released.set()
        await asking
        assert len(engines["p0"].seen) == len(engines["p1"].seen) == 1
        assert len(decode.seen) == 2
        assert decode.seen[0].transfer != decode.seen[1].transfer
        await until(lambda: engines["p0"].dropped == [decode.seen[0].transfer])


async def test_what_prefill_refuses_in_the_end_the_client_hears(tmp_path):
    engines = {"p0": EarlyEngine("p", status=400), "d0": FakeEngine("d", hang=True)}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["d0"].arrived)
        engines["p0"].released.set()
        assert (await asking)[0] == 400
        await soon(engines["d0"].cancelled)


async def test_prefill_that_breaks_off_after_the_first_byte_is_nobodys_loss(tmp_path):
    engines = {"p0": EarlyEngine("p", status=503), "d0": FakeEngine("d", drip=True)}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        body = {"prompt": "hi", "stream": True}
        async with router.http.post(f"{router.url}/v1/completions", json=body) as response:
            first = await response.content.readuntil(b"\n\n")
            engines["p0"].released.set()
            while 'thunder_leg_failures_total{leg="prefill",replica="p0"} 1.0' not in await metrics(router):
                await asyncio.sleep(0.005)
            engines["d0"].released.set()
            assert (first + await response.read()).endswith(b"data: [DONE]\n\n")
    assert len(engines["d0"].seen) == 1


async def test_a_client_that_goes_away_takes_both_legs_and_the_ticket_with_it(tmp_path):
    engines = {"p0": EarlyEngine("p"), "d0": FakeEngine("d", hang=True)}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["d0"].arrived)
        asking.cancel()
        with suppress(asyncio.CancelledError, aiohttp.ClientError):
            await asking
        await soon(engines["p0"].cancelled)
        await soon(engines["d0"].cancelled)
        await until(lambda: len(engines["p0"].dropped) == 1)


async def test_a_decode_replica_that_fails_leaves_the_ticket_to_another_while_prefill_goes_on(tmp_path):
    engines = {"p0": EarlyEngine("p"), "d0": FakeEngine("d", status=503), "d1": FakeEngine("e")}
    async with behind_agents(tmp_path, engines, [*PAIR, ("p0", "d1", 0.001, "int4")]) as router:
        assert (await router.post(prompt="hi"))[0] == 200
    assert len(engines["p0"].seen) == 1
    assert engines["d0"].seen[0].transfer == engines["d1"].seen[0].transfer


async def test_a_prefill_replica_is_free_once_its_leg_has_ended(tmp_path):
    """However long an answer is that comes in one piece."""
    engines = {"p0": EarlyEngine("p"), "d0": FakeEngine("d", hang=True)}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["d0"].arrived)
        assert (await router.observed())["in_flight_at"] == {"p0": 1, "d0": 1}
        engines["p0"].released.set()
        async with asyncio.timeout(10):
            while (await router.observed())["in_flight_at"] != {"d0": 1}:
                await asyncio.sleep(0.005)
        engines["d0"].released.set()
        assert (await asking)[0] == 200


@dataclass
class Reader(TokenEngine):
    """It reads tokens back once `prefill` was left."""

    prefill: FakeEngine | None = None

    async def _detokenize(self, request):
        assert self.prefill is not None
        await soon(self.prefill.cancelled)
        return await super()._detokenize(request)


async def test_a_stream_that_goes_on_elsewhere_has_no_use_for_what_its_first_prefill_says_in_the_end(tmp_path):
    prefill = EarlyEngine("p")
    engines = {"p0": prefill, "d0": TokenEngine("d", break_after=3), "m0": Reader("m", prefill=prefill)}
    async with behind_agents(tmp_path, engines, [("p0", "d0", 0.9, "int4"), ("m0", "m0", 0.1, "local")]) as router:
        assert_one_answer(await stream(router, COMPLETION))
        assert engines["m0"].seen[0].transfer == {}
        await until(lambda: prefill.dropped == [engines["d0"].seen[0].transfer])


async def test_who_ends_a_prefill_leg_is_not_kept_from_being_cancelled():
    cancelled, tidied = asyncio.Event(), asyncio.Event()

    async def leg(_):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await tidied.wait()

    prefilling = Prefilling(leg)
    await asyncio.sleep(0)
    ending = asyncio.create_task(prefilling.end())
    await soon(cancelled)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    tidied.set()
    await prefilling.end()


@pytest.mark.parametrize("said", ["{", "[]", '{"ticket": "t"}'])
async def test_a_ticket_that_can_not_be_read_is_a_failure_of_its_replica(tmp_path, said):
    engines = {"p0": EarlyEngine("p", said=said), "p1": EarlyEngine("q"), "d0": FakeEngine("d")}
    async with behind_agents(tmp_path, engines, TWO) as router:
        assert (await router.post(prompt="hi"))[0] == 200
    assert len(engines["p1"].seen) == len(engines["d0"].seen) == 1


async def test_with_streaming_off_nothing_is_said_early(tmp_path):
    engines = {"p0": EarlyEngine("p", hang=False), "d0": FakeEngine("d")}
    async with behind_agents(tmp_path, engines, PAIR, settings=RouterSettings(stream_kv=False)) as router:
        assert (await router.post(prompt="hi"))[0] == 200
    assert "stream" not in engines["p0"].seen[0].transfer
    assert CACHED not in engines["d0"].seen[0].transfer


async def test_an_agent_that_says_nothing_early_is_waited_for(tmp_path):
    engines = {"p0": FakeEngine("p", hang=True), "d0": FakeEngine("d")}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["p0"].arrived)
        assert not engines["d0"].seen
        engines["p0"].released.set()
        assert (await asking)[0] == 200
    assert engines["p0"].seen[0].transfer["stream"] is True


async def metrics(router):
    async with router.http.get(f"{router.url}/metrics") as response:
        return await response.text()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
