"""The policy at work in a router: conversations, queues and short prompts, over fake engines."""

import asyncio
from pathlib import Path

import pytest

from runtime.router.choosing.affinity import BLOCK
from tests.fakes import PROMPT_TOKENS, FakeEngine, serving
from tests.runtime.routing import routes_document, routing, soon

SQUARE = [(p, d, 0.25, "int4") for p in ("p0", "p1") for d in ("d0", "d1")]
QUESTION = "why " * BLOCK


@pytest.fixture
async def square():
    engines = {name: FakeEngine(name) for name in ("p0", "p1", "d0", "d1")}
    async with serving(*engines.values()):
        yield engines


def asked(engines: dict[str, FakeEngine]) -> set[str]:
    """Who was asked since the last time."""
    names = {name for name, engine in engines.items() if engine.seen}
    for engine in engines.values():
        engine.seen.clear()
    return names


async def test_the_turns_of_a_chat_go_to_one_pair(square, tmp_path: Path):
    async with routing(tmp_path, routes_document(square, SQUARE)) as router, router.openai as client:
        messages = [{"role": "user", "content": QUESTION}]
        pairs = []
        for _ in range(4):
            answer = await client.chat.completions.create(model="tiny", messages=messages, max_tokens=2)
            pairs.append(asked(square))
            messages += [answer.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": "and?"}]
            await router.post(prompt="something else")
            asked(square)
    assert len(pairs[0]) == 2
    assert pairs == [pairs[0]] * 4


async def test_a_conversation_named_by_a_header_goes_to_one_pair(square, tmp_path: Path):
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        pairs = []
        for text in ("one", "two", "three"):
            headers = {"X-Session-Id": "mine"}
            async with router.http.post(
                f"{router.url}/v1/completions", json={"prompt": text}, headers=headers
            ) as answer:
                assert answer.status == 200
            pairs.append(asked(square))
    assert pairs == [pairs[0]] * 3


async def test_nobody_is_sent_to_wait_behind_others_while_a_replica_is_idle(square, tmp_path: Path):
    square["p0"].hang = square["p1"].hang = True
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        first = asyncio.create_task(router.post(prompt=QUESTION))
        async with asyncio.timeout(10):
            while not any(square[name].seen for name in ("p0", "p1")):
                await asyncio.sleep(0)
        busy = "p0" if square["p0"].seen else "p1"
        idle = square["p1" if busy == "p0" else "p0"]
        idle.hang = False
        answers = [await router.post(prompt=f"short {number}") for number in range(4)]
        assert [status for status, _ in answers] == [200] * 4
        assert len(idle.prefills) == 4
        square[busy].released.set()
        assert (await first)[0] == 200


@pytest.mark.parametrize("streamed", [False, True])
async def test_short_prompts_and_rests_of_conversations_need_no_transfer(tmp_path: Path, streamed: bool):
    """With as many tokens a byte as the fake's usage says in the end, still one every four bytes here."""
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d")}
    async with serving(*engines.values()):
        document = routes_document(engines, [("p0", "d0", 1.0, "int4")])
        document["routes"][0]["local_below_tokens"] = 200
        document["replicas"][1]["local_tokens_per_s"] = 1e6
        async with routing(tmp_path, document) as router:
            ask = router.events if streamed else router.post
            await ask(prompt="short")
            assert asked(engines) == {"d0"}
            await ask(prompt=QUESTION)
            assert asked(engines) == {"p0", "d0"}
            await ask(prompt=QUESTION + "and then?")
            assert asked(engines) == {"d0"}
            seen = await router.observed()
            async with router.http.get(f"{router.url}/metrics") as response:
                counted = await response.text()
    assert seen["prompt_tokens_mean"] == PROMPT_TOKENS
    for reason in ("length", "prefix"):
        assert f'thunder_bypasses_total{{reason="{reason}",replica="d0"}} 1.0' in counted


async def test_a_replica_that_fails_a_bypassed_prompt_is_no_end_of_it(tmp_path: Path):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d", status=500), "d1": FakeEngine("e")}
    async with serving(*engines.values()):
        document = routes_document(engines, [("p0", "d0", 0.9, "int4"), ("p0", "d1", 0.1, "int4")])
        document["routes"][0]["local_below_tokens"] = 200
        document["replicas"][1]["local_tokens_per_s"] = 1e6
        async with routing(tmp_path, document) as router:
            assert (await router.post(prompt="short"))[0] == 200
    assert asked(engines) == {"d0", "d1"}


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 400}, {"break_after": 0}, {"break_after": 2}])
async def test_however_a_request_ends_it_leaves_no_load(square, tmp_path: Path, fault):
    for name in ("d0", "d1"):
        for key, value in fault.items():
            setattr(square[name], key, value)
    async with routing(tmp_path, routes_document(square, SQUARE)) as router:
        for streamed in (False, True):  # a stream that broke off is the last on its connection
            async with router.http.post(
                f"{router.url}/v1/completions", json={"prompt": "hi", "stream": streamed}
            ) as answer:
                await answer.read()
        assert (await router.observed())["in_flight_at"] == {}


@pytest.mark.parametrize("hanging", ["p0", "d0"])
async def test_a_client_that_goes_away_leaves_no_load(tmp_path: Path, hanging: str):
    engines = {"p0": FakeEngine("p"), "d0": FakeEngine("d")}
    engines[hanging].hang = True
    async with serving(*engines.values()):
        document = routes_document(engines, [("p0", "d0", 1.0, "int4")])
        async with routing(tmp_path, document) as router:
            asking = asyncio.create_task(router.post(prompt="hi"))
            await soon(engines[hanging].arrived)
            assert (await router.observed())["in_flight_at"]["d0"] == 1
            asking.cancel()
            await soon(engines[hanging].cancelled)
            async with asyncio.timeout(10):
                while (await router.observed())["in_flight_at"]:
                    await asyncio.sleep(0)
