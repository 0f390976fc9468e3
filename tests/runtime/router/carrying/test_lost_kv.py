"""Prompts that no prefill replica gave a ticket for: a decode replica is told, so that it computes them in turns."""

import pytest

from planner.deployment import Codec
from runtime.messages import Routes
from runtime.router.choosing.policy import Choice, RoutePolicy
from runtime.router.legs.bodies import decode_body
from runtime.router.legs.request import read_request
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import PAIR, behind_agents, routes_document, routing

LOST = {"kv_lost": True}


async def ask(router, **body):
    assert (await router.post(prompt="hi", **body))[0] == 200


async def metrics(router):
    async with router.http.get(f"{router.url}/metrics") as response:
        return await response.text()


async def test_a_decode_replica_is_told_that_prefill_gave_no_ticket(tmp_path):
    engines = {"p0": FakeEngine("p", gives_ticket=False), "d0": FakeEngine("d")}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        await ask(router)
        assert 'thunder_no_ticket_total{replica="p0"} 1.0' in await metrics(router)
        assert 'thunder_recomputes_total{replica="d0"} 1.0' in await metrics(router)
    assert [seen.transfer for seen in engines["d0"].seen] == [LOST]


async def test_a_decode_replica_is_told_that_no_prefill_replica_is_left(tmp_path):
    engines = {"p0": FakeEngine("p", status=503), "d0": FakeEngine("d")}
    async with behind_agents(tmp_path, engines, PAIR) as router:
        await ask(router)
        assert 'thunder_recomputes_total{replica="d0"} 1.0' in await metrics(router)
    assert [seen.transfer for seen in engines["d0"].seen] == [LOST]


async def test_the_next_decode_replica_is_told_too(tmp_path):
    engines = {"p0": FakeEngine("p", gives_ticket=False), "d0": FakeEngine("d", status=503), "d1": FakeEngine("e")}
    async with behind_agents(tmp_path, engines, [*PAIR, ("p0", "d1", 0.1, "int4")]) as router:
        await ask(router)
    assert [seen.transfer for name in ("d0", "d1") for seen in engines[name].seen] == [LOST, LOST]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (("p0", "m0", 1.0, "int4"), {}),
        (("m0", "m0", 1.0, "local"), {}),
        (("d0", "d0", 1.0, "local"), {}),
        (("p0", "d0", 1.0, "int4"), {"prompt_logprobs": 1}),
        (("p0", "d0", 1.0, "int4"), {"model": "an-adapter"}),
    ],
)
async def test_replicas_that_are_to_compute_prompts_are_told_nothing(tmp_path, route, body):
    engines = {name: FakeEngine(name, gives_ticket=False) for name in {"p0": 0, route[1]: 0}}
    async with behind_agents(tmp_path, engines, [route]) as router:
        await ask(router, **body)
        assert ("thunder_recomputes_total{" in await metrics(router)) == (route[:2] == ("p0", "m0"))
    assert [seen.transfer for seen in engines[route[1]].seen] == [{}]


async def test_a_plain_engine_is_told_nothing(tmp_path):
    engines = {"p0": FakeEngine("p", gives_ticket=False), "d0": FakeEngine("d")}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, PAIR)) as router:
        await ask(router)
    assert [seen.transfer for seen in engines["d0"].seen] == [{}]


def test_a_choice_says_whether_a_prefill_replica_was_due():
    routes = Routes.from_json(
        routes_document(
            {name: FakeEngine(name, url="http://x") for name in ("p0", "d0", "m0")}, [*PAIR, ("m0", "m0", 0.1, "local")]
        )
    )
    policy = RoutePolicy(routes)
    assert policy.choose({"d0"}.__contains__) == Choice(None, "d0", Codec.LOCAL, bereft=True)
    assert policy.choose({"d0"}.__contains__, local=True) == Choice(None, "d0", Codec.LOCAL)
    assert policy.choose({"m0"}.__contains__) == Choice(None, "m0", Codec.LOCAL)


def test_prompt_ids_go_with_the_word():
    request = read_request(b'{"prompt": "hi"}')
    assert b'"kv_transfer_params":{"kv_lost":true}' in decode_body(request, b'{"kv_lost":true}')
