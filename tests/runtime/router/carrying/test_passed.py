"""What the router passes on whole: the Responses and the Messages API, and tokens, through the pair of a plan."""

import asyncio
import json
from pathlib import Path

import openai
import pytest

from runtime.router.access.keys import KeyRing, new_key, write_keys
from runtime.router.settings import RouterSettings
from tests.fakes import serving
from tests.runtime.passed_engine import CACHED, PassedEngine
from tests.runtime.routing import PAIR, TOKEN, routes_document, routing, soon

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
BODIES = {
    RESPONSES: {"model": "tiny", "input": "hello", "max_output_tokens": 3},
    MESSAGES: {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3},
    "/v1/messages/count_tokens": {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]},
    "/tokenize": {"prompt": "hello"},
    "/detokenize": {"tokens": [5]},
}
TWO = [("p0", "d0", 0.5, "int4"), ("p0", "d1", 0.5, "int4")]

both = pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
streamed_or_not = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture
async def pair():
    engines = {"p0": PassedEngine("p"), "d0": PassedEngine("d")}
    async with serving(*engines.values()):
        yield engines


async def ask(router, path, headers=None, **change):
    async with router.http.post(router.url + path, json=BODIES[path] | change, headers=headers) as response:
        return response.status, response.headers, await response.text()


def named(text):
    """The events of a stream: name and data."""
    events = [event.split("\n") for event in text.split("\n\n") if event]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


async def test_the_responses_api_through_the_official_client(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router, router.openai as client:
        answer = await client.responses.create(model="tiny", input="hello", max_output_tokens=3)
        stream = await client.responses.create(model="tiny", input="hello", max_output_tokens=3, stream=True)
        events = [event async for event in stream]
    assert answer.output_text == " d1 d2 d3"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == " d1 d2 d3"
    assert events[-1].response.usage.output_tokens == 3


@pytest.mark.parametrize("path", list(BODIES))
async def test_they_go_to_a_replica_that_decodes_with_the_clients_own_body(pair, tmp_path: Path, path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        status, headers, _ = await ask(router, path, {"X-Request-Id": "mine", "Authorization": "Bearer secret"})
    (seen,) = pair["d0"].seen
    assert (status, headers["X-Request-Id"], pair["p0"].seen) == (200, "mine", [])
    assert (seen.path, seen.body) == (path, BODIES[path])
    assert seen.headers["X-Request-Id"].startswith("mine-")
    assert "Authorization" not in seen.headers


@both
@streamed_or_not
async def test_transfer_words_pass_neither_way(pair, tmp_path: Path, path, streamed):
    pair["d0"].returns_transfer = True
    words = {"kv_transfer_params": {"do_remote_decode": True}, "ec_transfer_params": {}}
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        _, _, text = await ask(router, path, stream=streamed, **words, vllm_xargs={"a": 1, **words})
    assert "transfer" not in text
    assert pair["d0"].seen[0].body == BODIES[path] | {"stream": streamed, "vllm_xargs": {"a": 1}}


@both
@streamed_or_not
async def test_what_they_use_is_counted_as_of_completions(pair, tmp_path: Path, path, streamed):
    key, text = new_key("alice", created_at=0.0)
    write_keys(tmp_path / "keys.json", [key])
    headers = {"Authorization": f"Bearer {text}"}
    async with routing(tmp_path, routes_document(pair, PAIR), keys=KeyRing(tmp_path / "keys.json")) as router:
        status, _, _ = await ask(router, path, headers, stream=streamed)
        observed = await router.observed()
        admin = {"Authorization": f"Bearer {TOKEN}"}
        async with router.http.get(f"{router.url}/admin/usage", headers=admin) as response:
            used = (await response.json())["keys"][key.id]
    assert (status, observed["requests"], observed["lengths"]) == (200, {"ok": 1}, [[7, 3]])
    assert (used["prompt_tokens"], used["cached_tokens"], used["output_tokens"]) == (7, CACHED, 3)
    assert (observed["ttft_p50_s"] is not None) == streamed


async def test_questions_about_tokens_are_no_traffic(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        for path in ("/tokenize", "/detokenize", "/v1/messages/count_tokens"):
            assert (await ask(router, path))[0] == 200
        assert (await router.observed())["rate_rps"] == 0


@both
@streamed_or_not
async def test_before_the_first_byte_another_replica_answers(tmp_path: Path, path, streamed):
    engines = {name: PassedEngine(name) for name in ("p0", "d0", "d1")}
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, TWO)) as router:
        engines["d0"].break_next = engines["d1"].break_next = True
        engines["d1"].break_next = False
        for _ in range(2):
            status, _, text = await ask(router, path, stream=streamed)
            assert (status, "d11" in text) == (200, True)


@both
async def test_a_stream_that_breaks_off_ends_in_an_error_in_the_apis_own_form(pair, tmp_path: Path, path):
    pair["d0"].break_after = 3
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        status, _, text = await ask(router, path, stream=True)
        outcomes = (await router.observed())["requests"]
    name, data = named(text)[-1]
    assert (status, name, data["type"], outcomes) == (200, "error", "error", {"interrupted": 1})
    message = data["error"]["message"] if path == MESSAGES else data["message"]
    assert message.startswith("Replica d0 failed while it answered")


@both
async def test_an_engines_own_error_in_a_stream_is_passed_on_and_counted(pair, tmp_path: Path, path):
    failed = {"type": "error", "error": {"type": "InternalServerError", "message": "it died"}}
    pair["d0"]._events = lambda *_: iter([failed])
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        _, _, text = await ask(router, path, stream=True)
        assert (named(text), (await router.observed())["requests"]) == ([("error", failed)], {"failed": 1})


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({}, 400, "invalid_request_error"),
        ({"headers": {"x-api-key": "sk-wrong"}}, 401, "authentication_error"),
        ({"headers": {"X-Request-Deadline-S": "soon"}}, 400, "invalid_request_error"),
        ({"data": "{"}, 400, "invalid_request_error"),
        ({"data": "{}", "headers": {"Content-Type": "text/plain"}}, 415, "invalid_request_error"),
        ({"data": b"x" * 2000}, 413, "request_too_large"),
    ],
)
async def test_errors_of_messages_are_in_anthropics_form(pair, tmp_path: Path, change, status, kind):
    pair["d0"].status = 400  # vLLM says what it finds wrong with a body in OpenAI's form, here too
    key, text = new_key("alice", created_at=0.0)
    write_keys(tmp_path / "keys.json", [key])
    given = change.get("headers", {})
    headers = {"x-api-key": text, "Content-Type": "application/json"} | given
    data = change.get("data", json.dumps(BODIES[MESSAGES]))
    options = {"keys": KeyRing(tmp_path / "keys.json"), "settings": RouterSettings(max_body_bytes=1000)}
    async with (
        routing(tmp_path, routes_document(pair, PAIR), **options) as router,
        router.http.post(router.url + MESSAGES, data=data, headers=headers) as response,
    ):
        document = await response.json()
    assert (response.status, document["type"], document["error"]["type"]) == (status, "error", kind)
    assert document["error"]["message"]
    assert set(document) == {"type", "error"}


async def test_a_key_may_come_as_anthropics_clients_send_it(pair, tmp_path: Path):
    key, text = new_key("alice", created_at=0.0)
    write_keys(tmp_path / "keys.json", [key])
    async with routing(tmp_path, routes_document(pair, PAIR), keys=KeyRing(tmp_path / "keys.json")) as router:
        assert (await ask(router, MESSAGES, {"x-api-key": text}))[0] == 200
        assert (await ask(router, MESSAGES, {"Authorization": f"Bearer {text}"}))[0] == 200
        assert (await ask(router, MESSAGES))[0] == 401


@pytest.mark.parametrize("word", [{"previous_response_id": "resp_1"}, {"background": True}])
async def test_a_response_that_would_have_to_be_kept_is_refused(pair, tmp_path: Path, word):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        status, _, text = await ask(router, RESPONSES, **word)
    assert (status, "kept" in json.loads(text)["error"]["message"]) == (400, True)
    assert pair["d0"].seen == []


async def test_a_response_that_was_given_is_not_kept(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router, router.openai as client:
        for asked in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
            with pytest.raises(openai.NotFoundError, match="keeps no responses"):
                await asked("resp_1")


@both
async def test_a_deadline_ends_a_stream_in_the_apis_own_form(pair, tmp_path: Path, path):
    pair["d0"].drip = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        _, _, text = await ask(router, path, {"X-Request-Deadline-S": "0.5"}, stream=True)
    assert (named(text)[-1][0], "deadline" in text) == ("error", True)


@both
async def test_a_client_that_goes_takes_its_leg_with_it(pair, tmp_path: Path, path):
    pair["d0"].hang = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        asking = asyncio.create_task(ask(router, path, stream=True))
        await soon(pair["d0"].arrived)
        asking.cancel()
        await soon(pair["d0"].cancelled)


@both
async def test_events_arrive_one_by_one(pair, tmp_path: Path, path):
    pair["d0"].drip = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        body = BODIES[path] | {"stream": True}
        async with router.http.post(router.url + path, json=body) as response:
            while b"delta" not in await response.content.readuntil(b"\n\n"):
                pass  # comes while the engine still holds the next
            pair["d0"].released.set()
            assert (await response.read()).endswith(b"}\n\n")
