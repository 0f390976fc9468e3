"""A stream outlives its decode replica: prompt and emitted tokens go to another one, and the client sees nothing."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import MESSAGES, Clock, Running, routes_document, routing, soon
from tests.runtime.token_engine import SCRIPT, TokenEngine, prompt_ids

WHOLE = b"".join(SCRIPT).decode()
PAIRS = [("p0", "d0", 1.0, "int4"), ("p0", "d1", 1e-6, "int4"), ("p0", "d2", 1e-9, "int4")]
COMPLETION = {"prompt": "Say: ", "max_tokens": 64}
CHAT = {"messages": MESSAGES}
BOTH = pytest.mark.parametrize("body", [COMPLETION, CHAT], ids=["completion", "chat"])
PROMPT_TOKENS = {"completion": len("Say: "), "chat": len("<user>hello<assistant>")}


def engines_of(**d0: Any) -> dict[str, FakeEngine]:
    """One prefill and two decode engines, the first of which dies."""
    return {"p0": TokenEngine("p0"), "d0": TokenEngine("d0", **d0), "d1": TokenEngine("d1")}


def documents_of(engines: dict[str, FakeEngine]) -> dict[str, Any]:
    return routes_document(engines, [pair for pair in PAIRS if pair[1] in engines])


async def stream(router: Running, body: dict[str, Any]) -> list[Any]:
    """The events that a client gets, parsed; the last is "[DONE]" if it is whole."""
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    async with router.http.post(f"{router.url}{path}", json={**body, "stream": True}) as response:
        events = (await response.read()).decode().split("\n\n")
    lines = [event.removeprefix("data: ") for event in events if event]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(events: Sequence[Any]) -> str:
    choices = [choice for event in events if event != "[DONE]" for choice in event.get("choices", [])]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def assert_one_answer(events: Sequence[Any], text: str = WHOLE, finish: str = "stop") -> None:
    """It is whole, from one engine as far as anybody can see, and without what the client did not ask for."""
    *documents, done = events
    assert done == "[DONE]"
    assert text_of(documents) == text
    assert len({(event["id"], event["object"], event["created"], event["model"]) for event in documents}) == 1
    choices = [choice for event in documents for choice in event["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == [finish]
    assert sum("role" in choice.get("delta", {}) for choice in choices) == (documents[0]["object"][:4] == "chat")
    assert not any(choice.get("token_ids") or choice.get("prompt_token_ids") for choice in choices)
    assert not any(event.get("prompt_token_ids") for event in documents)


@BOTH
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("events", [1, 2, 3, 6, 9, 12, 13])
async def test_a_stream_outlives_its_decode_replica(tmp_path: Path, body: dict[str, Any], events: int, torn: bool):
    """Row 2. It dies after the role, within a character, at its end, or after all was said but [DONE]."""
    engines = engines_of(break_after=events, torn=torn)
    options = {"stream_options": {"include_usage": True}}
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        got = await stream(router, {**body, **options})
        seen = await router.observed()
    assert_one_answer(got)
    prompt = PROMPT_TOKENS["chat" if body is CHAT else "completion"]
    count = len(SCRIPT) + 1
    assert got[-2]["usage"] == {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
    assert [event for event in got[:-2] if not event["choices"]] == []
    assert seen["requests"] == {"ok": 1}
    assert seen["lengths"] == [[prompt, count]]


LIMIT = 7
CUT_SHORT = b"".join(SCRIPT[:LIMIT]).decode()


def stating(engines: dict[str, FakeEngine], limit: int | None) -> dict[str, Any]:
    """Routes that say what engines give a chat which states no limit."""
    routes = [pair for pair in PAIRS if pair[1] in engines]
    return routes_document(engines, routes, default_max_tokens=limit)


@pytest.mark.parametrize("events", [None, 2, 4, 7])
async def test_an_answer_ends_where_its_engine_would_have_ended_it(tmp_path: Path, events: int | None):
    """The limit is that of the model's generation config, and the client states none."""
    engines = engines_of(break_after=events)
    for engine in engines.values():
        engine.default_max_tokens = LIMIT
    async with serving(*engines.values()), routing(tmp_path, stating(engines, LIMIT)) as router:
        got = await stream(router, {**CHAT, "stream_options": {"include_usage": True}})
    assert_one_answer(got, CUT_SHORT, finish="length")
    assert got[-2]["usage"]["completion_tokens"] == LIMIT


@pytest.mark.parametrize("unstated", [{}, {"max_tokens": None, "max_completion_tokens": None}])
async def test_nobody_goes_on_with_a_chat_whose_limit_nobody_knows(tmp_path: Path, unstated: dict[str, Any]):
    engines = engines_of(break_after=4)
    async with serving(*engines.values()), routing(tmp_path, stating(engines, None)) as router:
        got = await stream(router, CHAT | unstated)
        assert "states no max_tokens" in got[-1]["error"]["message"]
    async with serving(*engines.values()):
        differing = stating(engines, 0)
        differing["replicas"][-1]["default_max_tokens"] = LIMIT
        async with routing(tmp_path, differing) as router:
            got = await stream(router, CHAT | unstated)
            assert "states no max_tokens" in got[-1]["error"]["message"]


async def test_who_states_a_limit_is_gone_on_with_whatever_the_engine_has_for_others(tmp_path: Path):
    engines = engines_of(break_after=4)
    async with serving(*engines.values()), routing(tmp_path, stating(engines, None)) as router:
        got = await stream(router, CHAT | {"max_completion_tokens": LIMIT})
    assert_one_answer(got, CUT_SHORT, finish="length")


@BOTH
async def test_the_rest_is_prefilled_by_a_pair_and_asked_of_another_replica(tmp_path: Path, body: dict[str, Any]):
    engines = engines_of(break_after=6 if body is CHAT else 5)  # a chat begins with a role
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, {**body, "max_tokens": 20, "min_tokens": 6}))
    (_, prefill), (rest,) = engines["p0"].prefills, engines["d1"].seen
    assert rest.transfer["ticket"] == "p0-2"
    assert prompt_ids(rest.body) == prompt_ids(prefill.body) == [*prompt_ids(body), 1000, 1001, 1002, 1003]
    assert (rest.body["max_tokens"], rest.body["min_tokens"]) == (
        16,
        2,
    )  # the fifth began a character: it is said again
    assert rest.path == ("/v1/chat/completions" if body is CHAT else "/v1/completions")


@BOTH
async def test_two_deaths_in_a_row(tmp_path: Path, body: dict[str, Any]):
    engines = {**engines_of(break_after=4), "d2": TokenEngine("d2")}
    engines["d1"].break_after = 3
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, {**body, "stream_options": {"include_usage": True}}))
    assert [len(engines[name].seen) for name in ("d0", "d1", "d2")] == [1, 1, 1]


async def test_a_replica_that_dies_before_it_goes_on_is_passed_over(tmp_path: Path):
    engines = {**engines_of(break_after=4), "d2": TokenEngine("d2")}
    engines["d1"].break_after = 0
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, COMPLETION))
    assert len(engines["d2"].seen) == 1


async def test_a_replica_that_can_read_no_tokens_is_passed_over(tmp_path: Path):
    engines = {**engines_of(break_after=4), "d2": TokenEngine("d2")}
    engines["d1"].dead_tokenizer = True
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, COMPLETION))
    assert engines["d1"].seen == []


async def test_an_error_that_the_engine_reports_of_itself_is_moved_too(tmp_path: Path):
    """What vLLM says while its engine core dies and its HTTP server does not."""
    engines = engines_of(break_after=4, dies_aloud=True)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, COMPLETION))


async def test_a_replica_that_falls_silent_is_left(tmp_path: Path):
    engines = engines_of(break_after=4, drip=True)
    settings = RouterSettings(idle_s=0.5)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines), settings=settings) as router:
        assert_one_answer(await stream(router, COMPLETION))
    await soon(engines["d0"].cancelled)


async def test_tokens_are_counted_where_no_usage_is_stated(tmp_path: Path):
    engines = engines_of(break_after=3, batch=2)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, COMPLETION))
        seen = await router.observed()
    assert seen["lengths"] == [[PROMPT_TOKENS["completion"], len(SCRIPT) + 1]]


async def test_the_running_usage_goes_on_counting(tmp_path: Path):
    engines = engines_of(break_after=4)
    options = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        got = await stream(router, {**COMPLETION, **options})
    assert_one_answer(got)
    assert [event["usage"]["completion_tokens"] for event in got[:-1]] == [*range(1, 13), 12]
    assert {event["usage"]["prompt_tokens"] for event in got[:-1]} == {PROMPT_TOKENS["completion"]}


@BOTH
@pytest.mark.parametrize("events", [3, 6, 10])
async def test_a_limit_of_tokens_counts_both_parts(tmp_path: Path, body: dict[str, Any], events: int):
    engines = engines_of(break_after=events)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        got = await stream(router, {**body, "max_tokens": 10})
    assert_one_answer(got, b"".join(SCRIPT[:10]).decode(), finish="length")


@pytest.mark.parametrize("events", range(1, 9))
@pytest.mark.parametrize("stop", ["\n\n", ".\n\nB", ["\n", "Bye"], "never said"])
async def test_a_stop_string_is_found_wherever_the_cut_lies(tmp_path: Path, events: int, stop: str | list[str]):
    async with (
        serving(alone := TokenEngine("d0")),
        routing(tmp_path, routes_document({"d0": alone}, [LOCAL])) as router,
    ):
        undisturbed = text_of(await stream(router, {**COMPLETION, "stop": stop}))
    engines = engines_of(break_after=events)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert_one_answer(await stream(router, {**COMPLETION, "stop": stop}), undisturbed)


async def test_a_stop_string_that_may_have_begun_within_a_token_ends_in_an_error(tmp_path: Path):
    """Of ".\\n" the stop is sent and the newline held back: no cut has both whole."""
    engines = engines_of(break_after=9)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        got = await stream(router, {**COMPLETION, "stop": "\n\n"})
    assert "can't be cut" in got[-1]["error"]["message"]


LOCAL = ("d0", "d0", 1.0, "local")


@pytest.mark.parametrize(
    "extra",
    [
        {"n": 2},
        {"logprobs": 0},
        {"presence_penalty": 0.5},
        {"frequency_penalty": -0.5},
        {"seed": 0},
        {"seed": 7, "temperature": 0.7},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a+"}},
        {"bad_words": ["no"]},
        {"echo": True},
        {"return_token_ids": True},
        {"a_word_of_tomorrow": 1},
    ],
    ids=lambda extra: "+".join(extra),
)
async def test_what_no_replay_answers_exactly_ends_in_an_error(tmp_path: Path, extra: dict[str, Any]):
    engines = engines_of(break_after=4)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        got = await stream(router, {**COMPLETION, **extra})
        seen = await router.observed()
    assert got[-1]["error"]["code"] == "stream_interrupted"
    assert "can't be replayed" in got[-1]["error"]["message"]
    assert engines["d1"].seen == []
    assert seen["requests"] == {"interrupted": 1}


async def test_an_engine_that_states_no_ids_ends_in_an_error(tmp_path: Path):
    engines = engines_of(break_after=4, says_ids=False)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert "stated no token ids" in (await stream(router, COMPLETION))[-1]["error"]["message"]


async def test_without_another_decode_replica_it_ends_in_an_error(tmp_path: Path):
    engines = {"p0": TokenEngine("p0"), "d0": TokenEngine("d0", break_after=4)}
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert "no other decode replica is up" in (await stream(router, COMPLETION))[-1]["error"]["message"]


async def test_a_stream_is_moved_only_so_often(tmp_path: Path):
    engines = engines_of(break_after=4)
    engines["d1"].break_after = 2
    settings = RouterSettings(moves=1)
    engines["d2"] = TokenEngine("d2")
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines), settings=settings) as router:
        assert "it was moved 1 times before" in (await stream(router, COMPLETION))[-1]["error"]["message"]


async def test_a_stream_may_go_back_to_a_replica_that_has_mended(tmp_path: Path):
    """It broke off, and a probe has let it in again since."""
    clock = Clock()
    engines = engines_of(break_after=4)
    engines["d1"].break_after, engines["d1"].hang = 2, True
    options = {"probing": True, "settings": RouterSettings(probe_every_s=0.01), "now": clock}
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines), **options) as router:
        asking = asyncio.create_task(stream(router, COMPLETION))
        await soon(engines["d1"].arrived)
        engines["d0"].break_after = None
        clock.seconds += 5
        async with asyncio.timeout(10):
            while not all(one["healthy"] for one in (await router.observed())["replicas"]):
                await asyncio.sleep(0)
        engines["d1"].released.set()
        assert_one_answer(await asking)
    assert [len(engines[name].decodes) for name in ("d0", "d1")] == [2, 1]


async def test_a_refusal_of_the_rest_ends_in_an_error(tmp_path: Path):
    engines = engines_of(break_after=4)
    engines["d1"].status = 400
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        assert "d1 answered 400" in (await stream(router, COMPLETION))[-1]["error"]["message"]


@pytest.mark.parametrize("torn", [False, True])
async def test_an_answer_that_is_not_streamed_is_asked_for_again(tmp_path: Path, torn: bool):
    """Nothing was sent of it yet."""
    engines = engines_of(break_after=4, torn=torn)
    async with serving(*engines.values()), routing(tmp_path, documents_of(engines)) as router:
        status, answer = await router.post(**COMPLETION)
    assert (status, answer["usage"]["completion_tokens"]) == (200, 64)
    assert "return_token_ids" not in engines["d1"].seen[0].body


async def test_what_goes_on_elsewhere_goes_by_the_plan_in_force(tmp_path: Path):
    """Its own epoch ends with it there; the replicas of that one may be gone."""
    engines = {**engines_of(break_after=4, drip=True), "d2": TokenEngine("d2")}
    first = {name: engines[name] for name in ("p0", "d0", "d1")}
    later = {name: engines[name] for name in ("p0", "d2")}
    async with serving(*engines.values()), routing(tmp_path, documents_of(first)) as router:
        asking = asyncio.create_task(stream(router, COMPLETION))
        await soon(engines["d0"].arrived)
        await router.put({**documents_of(later), "epoch": 2})
        assert (await router.observed())["in_flight"] == {"1": 1, "2": 0}
        engines["d0"].released.set()
        assert_one_answer(await asking)
        async with asyncio.timeout(10):
            while (await router.observed())["in_flight"] != {"2": 0}:
                await asyncio.sleep(0)
    assert [len(engines[name].seen) for name in ("d1", "d2")] == [0, 1]
