"""Plans change while requests are under way, and then a replica of the plan before fails: no request fails with it."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from runtime.router.settings import RouterSettings
from runtime.router.watching.access_log import AccessLog
from tests.fakes import FakeEngine, serving
from tests.runtime.router.replay.test_replay import COMPLETION, assert_one_answer, stream, text_of
from tests.runtime.routing import PAIR, Clock, routes_document, routing, soon
from tests.runtime.token_engine import SCRIPT, TokenEngine

FAST = RouterSettings(probe_every_s=0.05, probe_timeout_s=0.2)
ALONE = {name: [(name, name, 1.0, "local")] for name in ("d0", "d1")}


class Dies(TokenEngine):
    """It breaks off whatever it was asked, once it is released."""

    async def _answer(self, request: web.Request, body: dict) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise ConnectionResetError("told to break off")


async def until_done(clock: Clock, task: "asyncio.Task[object]") -> None:
    """Time passes for the router until the task is over."""
    async with asyncio.timeout(20):
        while not task.done():
            clock.seconds += 1
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_replica_that_the_plan_in_force_leaves_out_and_that_hangs_is_cut(tmp_path: Path, streamed: bool):
    engines = {"d0": TokenEngine("d0", break_after=4 if streamed else None, drip=True, hang=not streamed)}
    later, clock = {"d1": TokenEngine("d1")}, Clock()
    async with serving(*engines.values(), *later.values()):
        document = routes_document(engines, ALONE["d0"])
        async with routing(tmp_path, document, probing=True, settings=FAST, now=clock) as router:
            ask = stream(router, COMPLETION) if streamed else router.post(prompt="hi")
            asking: asyncio.Task[object] = asyncio.create_task(ask)
            await soon(engines["d0"].arrived)
            await router.put(routes_document(later, ALONE["d1"], epoch=2))
            engines["d0"].healthy = False
            await until_done(clock, asking)
            assert (await router.observed())["in_flight"] == {"2": 0}
            engines["d0"].released.set()
    if streamed:
        assert_one_answer(asking.result())
    else:
        assert asking.result()[0] == 200


async def test_the_same_id_at_another_address_is_probed_on_its_own(tmp_path: Path):
    """The old one hangs and is cut; the new one, which has nothing to do with it, stays up."""
    old, new, other, clock = TokenEngine(hang=True), TokenEngine("new"), TokenEngine("other"), Clock()
    async with serving(old, new, other):
        document = routes_document({"d0": old}, ALONE["d0"])
        async with routing(tmp_path, document, probing=True, settings=FAST, now=clock) as router:
            asking = asyncio.create_task(router.post(prompt="hi", max_tokens=3))
            await soon(old.arrived)
            await router.put(routes_document({"d0": new, "d1": other}, ALONE["d0"], epoch=2))
            old.healthy = False
            await until_done(clock, asking)
            async with router.http.get(f"{router.url}/health") as health:
                assert (await health.json())["replicas"] == {"d0": True, "d1": True}
            old.released.set()
    assert (asking.result()[0], asking.result()[1]["choices"][0]["text"]) == (200, " new1 new2 new3")


async def test_before_the_first_byte_the_plan_in_force_helps_where_the_own_has_nobody_left(tmp_path: Path):
    engines = {"p0": FakeEngine("p0"), "d0": Dies("d0", hang=True)}
    later = {"p0": engines["p0"], "d1": FakeEngine("d1")}
    async with serving(*engines.values(), later["d1"]), routing(tmp_path, routes_document(engines, PAIR)) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["d0"].arrived)
        await router.put(routes_document(later, [("p0", "d1", 1.0, "int4")], epoch=2))
        engines["d0"].released.set()
        assert (await asking)[0] == 200
    (rest,) = later["d1"].seen
    assert (len(engines["p0"].seen), rest.transfer["ticket"]) == (1, "p0-1")


async def test_a_prompt_whose_prefill_replica_dies_is_computed_by_that_of_the_plan_in_force(tmp_path: Path):
    engines = {"p0": Dies("p0", hang=True), "d0": FakeEngine("d0")}
    later = {"p1": FakeEngine("p1"), "d0": engines["d0"]}
    async with serving(*engines.values(), later["p1"]), routing(tmp_path, routes_document(engines, PAIR)) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(engines["p0"].arrived)
        await router.put(routes_document(later, [("p1", "d0", 1.0, "int4")], epoch=2))
        engines["p0"].released.set()
        assert (await asking)[0] == 200
    assert engines["d0"].seen[0].transfer["ticket"] == "p1-1"


async def test_a_stream_does_not_go_on_with_another_model(tmp_path: Path):
    d0 = TokenEngine("d0", break_after=4, drip=True)
    d1 = TokenEngine("d1", script=SCRIPT[:4] + tuple(f" other{number}".encode() for number in range(5)))
    async with serving(d0, d1), routing(tmp_path, routes_document({"d0": d0}, ALONE["d0"])) as router:
        asking = asyncio.create_task(stream(router, COMPLETION))
        await soon(d0.arrived)
        await router.put(routes_document({"d1": d1}, ALONE["d1"], epoch=2) | {"model": "another"})
        d0.released.set()
        *said, error = await asking
    assert text_of(said) == b"".join(SCRIPT[:4]).decode()
    assert "the plan in force is of another model" in json.dumps(error)
    assert d1.seen == []


async def test_where_nothing_came_of_a_pair_and_the_next_computes_for_itself_no_prefill_replica_is_named(
    tmp_path: Path,
):
    """The rest of a stream had been prefilled for a replica that died before it said anything of it."""
    engines = {"p0": TokenEngine("p0"), "d0": TokenEngine("d0", break_after=4), "d1": Dies("d1", hang=True)}
    later, log = {"d2": TokenEngine("d2")}, AccessLog(tmp_path / "access.log")
    pairs = [*PAIR, ("p0", "d1", 1e-6, "int4")]
    async with serving(*engines.values(), *later.values()):
        async with routing(tmp_path, routes_document(engines, pairs), access_log=log) as router:
            asking = asyncio.create_task(stream(router, COMPLETION))
            await soon(engines["d1"].arrived)
            await router.put(routes_document(later, [("d2", "d2", 1.0, "local")], epoch=2))
            engines["d1"].released.set()
            assert_one_answer(await asking)
        (line,) = [json.loads(text) for text in (tmp_path / "access.log").read_text().splitlines()]
    assert (line["outcome"], line["prefill"], line["decode"], line["codec"]) == ("ok", None, "d2", "local")
