"""The router between clients, the official one among them, and fake engines: the two legs and what comes back."""

import asyncio
import json
from pathlib import Path

import pytest

from runtime.router.settings import RouterSettings
from tests.fakes import FakeEngine, serving
from tests.runtime.routing import MESSAGES, PAIR, Clock, routes_document, routing, soon


async def test_a_chat_through_the_official_client(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router, router.openai as client:
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=3)
    assert answer.choices[0].message.content == " d1 d2 d3"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert "kv_transfer_params" not in answer.model_dump()


async def test_a_streamed_chat_through_the_official_client(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router, router.openai as client:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=3, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream]
    assert words == ["", " d1", " d2", " d3"]


async def test_the_two_legs(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        await router.post(model="tiny", prompt="hi", max_tokens=3, n=2, kv_transfer_params={"mine": True})
    (prefill,), (decode,) = pair["p0"].seen, pair["d0"].seen
    assert prefill.body == {
        "model": "tiny",
        "prompt": "hi",
        "stream": False,
        "n": 1,
        "max_tokens": 1,
        "max_completion_tokens": 1,
        "kv_transfer_params": {"do_remote_decode": True, "codec": "int4", "readers": 2},
    }
    ticket = {"do_remote_prefill": True, "ticket": "p-1", "capability": "c"}
    assert decode.body == {"model": "tiny", "prompt": "hi", "max_tokens": 3, "n": 2, "kv_transfer_params": ticket}
    assert prefill.headers["X-Request-Id"] == decode.headers["X-Request-Id"]


async def test_the_clients_request_id_is_kept_and_its_credentials_are_not(pair, tmp_path: Path):
    headers = {"X-Request-Id": "mine", "Authorization": "Bearer secret"}
    async with (
        routing(tmp_path, routes_document(pair, PAIR)) as router,
        router.http.post(f"{router.url}/v1/completions", json={"prompt": "hi"}, headers=headers) as response,
    ):
        assert response.headers["X-Request-Id"] == "mine"
    for engine in pair.values():
        assert engine.seen[0].headers["X-Request-Id"].startswith("mine-")
        assert "Authorization" not in engine.seen[0].headers


async def test_clients_that_share_a_request_id_do_not_share_that_of_their_legs(pair, tmp_path: Path):
    headers = {"X-Request-Id": "shared"}
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        for _ in range(2):
            async with router.http.post(f"{router.url}/v1/completions", json={"prompt": "hi"}, headers=headers) as said:
                assert said.headers["X-Request-Id"] == "shared"
    prefills, decodes = ([seen.headers["X-Request-Id"] for seen in pair[name].seen] for name in ("p0", "d0"))
    assert prefills == decodes
    assert len(set(prefills)) == 2


@pytest.mark.parametrize("extra", [{"echo": True}, {"prompt_logprobs": 1}])
async def test_requests_that_external_kv_is_no_use_to_skip_the_prefill_leg(pair, tmp_path: Path, extra):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        await router.post(prompt="hi", **extra)
    assert (len(pair["p0"].seen), pair["d0"].seen[0].body) == (0, {"prompt": "hi", **extra})


async def test_a_local_route_has_one_leg(tmp_path: Path):
    engine = FakeEngine("m")
    async with (
        serving(engine),
        routing(tmp_path, routes_document({"m0": engine}, [("m0", "m0", 1, "local")])) as router,
    ):
        status, answer = await router.post(prompt="hi", max_tokens=2)
    assert (status, answer["choices"][0]["text"]) == (200, " m1 m2")
    assert [seen.body for seen in engine.seen] == [{"prompt": "hi", "max_tokens": 2}]


async def test_without_a_ticket_decode_gets_the_clients_own_body(pair, tmp_path: Path):
    pair["p0"].gives_ticket = False
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        await router.post(prompt="hi")
    assert pair["d0"].seen[0].body == {"prompt": "hi"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_transfer_words_never_reach_the_client(pair, tmp_path: Path, streamed: bool):
    pair["d0"].returns_transfer = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        url = f"{router.url}/v1/completions"
        async with router.http.post(url, json={"prompt": "hi", "stream": streamed}) as response:
            assert "kv_transfer" not in await response.text()


async def test_a_stream_is_passed_on_event_by_event(pair, tmp_path: Path):
    pair["d0"].drip = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        url = f"{router.url}/v1/completions"
        async with router.http.post(url, json={"prompt": "hi", "stream": True, "max_tokens": 2}) as response:
            first = await response.content.readuntil(b"\n\n")  # comes while the engine still holds the second
            assert json.loads(first[6:])["choices"][0]["text"] == " d1"
            pair["d0"].released.set()
            assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_shares_decide_where_requests_go(tmp_path: Path):
    engines = {name: FakeEngine(name) for name in ("p0", "d0", "d1")}
    routes = [("p0", "d0", 0.75, "int4"), ("p0", "d1", 0.25, "raw")]
    async with serving(*engines.values()), routing(tmp_path, routes_document(engines, routes)) as router:
        for _ in range(8):
            await router.post(prompt="hi")
    assert (len(engines["d0"].seen), len(engines["d1"].seen)) == (6, 2)
    assert sorted(seen.transfer["codec"] for seen in engines["p0"].seen) == ["int4"] * 6 + ["raw"] * 2


async def test_a_clients_error_is_passed_on_unchanged(pair, tmp_path: Path):
    pair["p0"].status, pair["p0"].error = 400, "the prompt is too long"
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        status, answer = await router.post(prompt="hi")
    assert (status, answer) == (400, {"error": {"message": "the prompt is too long", "code": 400}})
    assert pair["d0"].seen == []


@pytest.mark.parametrize("body", [b"{", b"[]", b""])
async def test_a_body_that_is_no_object_is_refused_in_openais_form(pair, tmp_path: Path, body: bytes):
    async with (
        routing(tmp_path, routes_document(pair, PAIR)) as router,
        router.http.post(
            f"{router.url}/v1/completions", data=body, headers={"Content-Type": "application/json"}
        ) as response,
    ):
        answer = await response.json()
    assert (response.status, answer["error"]["type"]) == (400, "invalid_request_error")


async def test_only_json_is_taken(pair, tmp_path: Path):
    """A page of another site may post text to a loopback port, JSON not."""
    async with (
        routing(tmp_path, routes_document(pair, PAIR)) as router,
        router.http.post(
            f"{router.url}/v1/completions", data=b"{}", headers={"Content-Type": "text/plain"}
        ) as response,
    ):
        assert response.status == 415
    assert pair["p0"].seen == []


@pytest.mark.parametrize("said", ["x" * 300, "\u00e9", "a\tb"])
async def test_a_request_id_that_is_no_name_is_replaced(pair, tmp_path: Path, said: str):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        url, headers = f"{router.url}/v1/completions", {"X-Request-Id": said}
        async with router.http.post(url, json={"prompt": "hi"}, headers=headers) as response:
            assert (response.status, len(response.headers["X-Request-Id"])) == (200, 32)


async def test_a_body_that_is_too_large_is_refused(pair, tmp_path: Path):
    settings = RouterSettings(max_body_bytes=1000)
    async with routing(tmp_path, routes_document(pair, PAIR), settings=settings) as router:
        status, answer = await router.post(prompt="x" * 1000)
    assert (status, answer["error"]["message"]) == (413, "The body is larger than 1000 bytes.")


async def test_what_it_serves_and_what_it_does_not(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        for method, path, status in (
            ("GET", "/v1/models", 200),
            ("GET", "/health", 200),
            ("GET", "/metrics", 200),
            ("POST", "/v1/embeddings", 501),
            ("GET", "/v1/embeddings", 501),
            ("POST", "/invocations", 404),
            ("GET", "/v1/chat/completions", 405),
            ("PUT", "/admin/other", 404),
        ):
            async with router.http.request(method, router.url + path) as response:
                assert response.status == status, path
                if status >= 400:
                    assert set((await response.json())["error"]) == {"message", "type", "param", "code"}
        async with router.openai as client:
            assert [model.id async for model in client.models.list()] == ["tiny"]


async def test_what_it_observes(pair, tmp_path: Path):
    clock = Clock()
    pair["p0"].hang = pair["d0"].drip = True
    async with routing(tmp_path, routes_document(pair, PAIR), now=clock) as router:
        body = {"prompt": "hi", "stream": True, "max_tokens": 5}
        asking = asyncio.create_task(router.http.post(f"{router.url}/v1/completions", json=body))
        await soon(pair["p0"].arrived)
        clock.seconds += 2.0
        pair["p0"].released.set()
        async with await asking as response:
            await response.content.readuntil(b"\n\n")
            during = await router.observed()
            clock.seconds += 8.0
            pair["d0"].released.set()
            await response.read()
        after = await router.observed()
    assert [replica["in_flight"] for replica in during["replicas"]] == [0, 1]
    assert (during["in_flight"], after["in_flight"]) == ({"1": 1}, {"1": 0})
    assert after["requests"] == {"ok": 1}
    assert after["rate_rps"] == pytest.approx(0.1)
    assert (after["prompt_tokens_mean"], after["output_tokens_mean"], after["lengths"]) == (7, 5, [[7, 5]])
    assert (after["ttft_p50_s"], after["ttft_p99_s"]) == (2.0, 2.0)
    assert (after["tpot_p50_s"], after["tpot_p99_s"]) == (2.0, 2.0)
    assert after["latencies"] == [[2.0, 2.0]]


async def test_a_whole_answer_counts_its_tokens_but_has_no_first_one(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        await router.post(prompt="hi", max_tokens=4)
        seen = await router.observed()
    assert (seen["lengths"], seen["ttft_p50_s"], seen["tpot_p50_s"]) == ([[7, 4]], None, None)


async def test_its_metrics_name_replica_phase_and_outcome(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR, epoch=4)) as router:
        await router.events(prompt="hi")
        async with router.http.get(f"{router.url}/metrics") as response:
            text = await response.text()
    for line in (
        "thunder_epoch 4.0",
        'thunder_requests_total{outcome="ok"} 1.0',
        'thunder_ttft_seconds_count{phase="decode",replica="d0"} 1.0',
        'thunder_tpot_seconds_count{phase="decode",replica="d0"} 1.0',
        'thunder_e2e_seconds_count{phase="decode",replica="d0"} 1.0',
        'thunder_prefill_leg_seconds_count{replica="p0"} 1.0',
        'thunder_replica_up{replica="p0"} 1.0',
    ):
        assert line in text
