"""Client keys: who may ask, how much, what it counts, and what the official client makes of a refusal."""

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import SpecError
from runtime.router.access.keys import KEYS_SCHEMA, ApiKey, KeyRing, new_key, read_keys, write_keys
from runtime.router.access.limits import KeyLimits, TokenBucket
from runtime.router.watching.observed import RequestRecord
from runtime.router.watching.usage import UsageBook
from tests.runtime.routing import MESSAGES, PAIR, TOKEN, Clock, routes_document, routing

NOW = 1_800_000_000.0


def make(path: Path, name: str = "alice", **limits: float | None) -> tuple[ApiKey, str]:
    """Add a key to the file; returns it and its text."""
    key, text = new_key(name, created_at=NOW, **limits)
    write_keys(path, [*read_keys(path), key])
    return key, text


def bearing(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@asynccontextmanager
async def keyed(engines, path: Path, **options):
    """A router with the keys of a file."""
    async with routing(path.parent, routes_document(engines, PAIR), keys=KeyRing(path), **options) as router:
        yield router


@asynccontextmanager
async def client(router, text: str, max_retries: int = 0):
    async with openai.AsyncOpenAI(base_url=f"{router.url}/v1", api_key=text, max_retries=max_retries) as made:
        yield made


async def chat(asking: openai.AsyncOpenAI):
    return await asking.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=3)


def test_a_key_is_kept_as_a_digest_in_a_file_of_its_owners(path: Path):
    key, text = make(path)
    assert text.startswith(f"sk-thunder-{key.id}-")
    assert text.rsplit("-", 1)[-1] not in path.read_text()
    assert json.loads(path.read_text())["keys"][0]["digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_keys(path) == (key,)


def test_every_key_is_another_one():
    assert len({new_key("a", created_at=NOW)[1] for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["", "a b", "-a", 'a"', "x" * 65, "é"])
def test_a_name_that_metrics_and_tables_can_not_hold_is_refused(name: str):
    with pytest.raises(SpecError, match="The key's name is"):
        new_key(name, created_at=NOW)


def test_a_ring_knows_its_keys_by_every_character(path: Path):
    key, text = make(path)
    ring = KeyRing(path)
    assert ring.holder(f"Bearer {text}") == key
    assert ring.holder(f"bearer  {text} ") == key
    other = "A" if text[-1] != "A" else "B"
    for said in ("", "Bearer", text, f"Basic {text}", f"Bearer {text}x", f"Bearer {text[:-1]}{other}", "Bearer \udce9"):
        assert ring.holder(said) is None, said


def test_a_key_ends_with_its_time(path: Path):
    _, text = make(path, expires_at=NOW + 10)
    clock = Clock(NOW)
    ring = KeyRing(path, clock)
    assert ring.holder(f"Bearer {text}")
    clock.seconds += 10
    assert ring.holder(f"Bearer {text}") is None


def test_a_ring_follows_its_file(path: Path):
    ring = KeyRing(path)
    assert not ring.required
    key, text = make(path)
    assert (ring.holder(f"Bearer {text}"), ring.required) == (key, True)
    path.write_text("{")
    assert ring.holder(f"Bearer {text}") == key  # a file that can't be read changes nothing
    write_keys(path, [])
    assert (ring.holder(f"Bearer {text}"), ring.required) == (None, True)


def test_a_file_that_is_gone_opens_nothing(path: Path):
    _, text = make(path)
    ring = KeyRing(path)
    path.unlink()
    assert (ring.holder(f"Bearer {text}"), ring.required) == (None, True)


async def test_with_keys_every_endpoint_but_health_asks_for_one(pair, path: Path):
    _, text = make(path)
    async with keyed(pair, path) as router:
        for method, where, status in (
            ("GET", "/health", 200),
            ("GET", "/v1/models", 200),
            ("GET", "/metrics", 401),
            ("POST", "/v1/embeddings", 501),
            ("GET", "/no/such/thing", 404),
            ("POST", "/v1/completions", 415),
        ):
            without = 200 if where == "/health" else 401
            async with router.http.request(method, router.url + where) as response:
                assert response.status == without, where
                if without == 401:
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                    assert (await response.json())["error"]["code"] in ("invalid_api_key", "invalid_token")
            async with router.http.request(method, router.url + where, headers=bearing(text)) as response:
                assert response.status == status, where
    assert pair["p0"].seen == []


async def test_administration_has_a_token_of_its_own_which_reads_metrics_too(pair, path: Path):
    _, text = make(path)
    async with keyed(pair, path) as router:
        for where, said, status in (
            ("/admin/observed", TOKEN, 200),
            ("/admin/usage", TOKEN, 200),
            ("/admin/usage", text, 401),
            ("/metrics", TOKEN, 200),
            ("/v1/models", TOKEN, 401),
        ):
            async with router.http.get(router.url + where, headers=bearing(said)) as response:
                assert response.status == status, where


async def test_without_keys_nobody_is_asked(pair, path: Path):
    async with keyed(pair, path) as router:
        assert (await router.post(prompt="hi"))[0] == 200


async def test_the_official_client_is_told_that_its_key_is_none(pair, path: Path):
    make(path)
    async with keyed(pair, path) as router, client(router, "sk-wrong") as asking:
        with pytest.raises(openai.AuthenticationError) as refused:
            await chat(asking)
    assert (refused.value.status_code, refused.value.code) == (401, "invalid_api_key")
    assert pair["p0"].seen == []


async def test_a_revoked_key_is_refused_from_the_next_request_on(pair, path: Path):
    _, text = make(path)
    async with keyed(pair, path) as router, client(router, text) as asking:
        assert (await chat(asking)).choices
        write_keys(path, [])
        with pytest.raises(openai.AuthenticationError):
            await chat(asking)


async def test_requests_beyond_a_keys_limit_are_told_when_to_come_again(pair, path: Path):
    _, text = make(path, requests_per_minute=2)
    clock = Clock()
    async with keyed(pair, path, now=clock) as router, client(router, text) as asking:
        for left in ("1", "0"):
            answer = await asking.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES)
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-remaining-requests"] == left
        with pytest.raises(openai.RateLimitError) as refused:
            await chat(asking)
        assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
        headers = refused.value.response.headers
        assert (headers["retry-after"], headers["x-ratelimit-reset-requests"]) == ("30", "1m0s")
        clock.seconds += 30
        assert (await chat(asking)).choices
    assert len(pair["d0"].seen) == 3


async def test_the_official_client_waits_as_it_is_told(pair, path: Path, monkeypatch):
    _, text = make(path, requests_per_minute=1)
    clock = Clock()
    waited = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.seconds += seconds

    monkeypatch.setattr("openai._base_client.anyio.sleep", sleep)
    async with keyed(pair, path, now=clock) as router, client(router, text, max_retries=1) as asking:
        await chat(asking)
        await chat(asking)
    assert waited == [60.0]


async def test_tokens_are_taken_when_they_are_known_and_a_debt_is_waited_for(pair, path: Path):
    """An answer has 7 prompt tokens and 3 of its own."""
    _, text = make(path, tokens_per_minute=6)
    clock = Clock()
    async with keyed(pair, path, now=clock) as router, client(router, text) as asking:
        await chat(asking)
        with pytest.raises(openai.RateLimitError) as refused:
            await chat(asking)
        assert (refused.value.type, refused.value.response.headers["retry-after"]) == ("tokens", "50")
        assert refused.value.response.headers["x-ratelimit-remaining-tokens"] == "0"
        clock.seconds += 50
        assert (await chat(asking)).choices


async def test_one_keys_limit_is_not_anothers(pair, path: Path):
    _, alice = make(path, "alice", requests_per_minute=1)
    _, bob = make(path, "bob", requests_per_minute=1)
    async with keyed(pair, path, now=Clock()) as router:
        for text, status in ((alice, 200), (alice, 429), (bob, 200)):
            url, body = f"{router.url}/v1/completions", {"prompt": "hi"}
            async with router.http.post(url, json=body, headers=bearing(text)) as response:
                assert response.status == status


async def test_what_a_key_used_is_counted_shown_and_outlives_the_router(pair, path: Path):
    key, text = make(path, requests_per_minute=2)
    book = path.with_name("usage.json")
    for requests in (1, 2):
        async with keyed(pair, path, now=Clock(), usage=UsageBook(book)) as router, client(router, text) as asking:
            await chat(asking)
            async with router.http.get(f"{router.url}/admin/usage", headers=bearing(TOKEN)) as response:
                used = (await response.json())["keys"][key.id]
            assert (used["requests"], used["prompt_tokens"], used["output_tokens"]) == (
                requests,
                7 * requests,
                3 * requests,
            )
            async with router.http.get(f"{router.url}/metrics", headers=bearing(TOKEN)) as response:
                metrics = await response.text()
            assert 'thunder_key_requests_total{key="alice",outcome="ok"} 1.0' in metrics
            assert 'thunder_key_tokens_total{key="alice",kind="prompt"} 7.0' in metrics
    async with keyed(pair, path, now=Clock(), usage=UsageBook(book)) as router, client(router, text) as asking:
        await chat(asking)
        await chat(asking)
        with pytest.raises(openai.RateLimitError):
            await chat(asking)
    kept = UsageBook(book).by_key[key.id]
    assert (kept.requests, kept.refused, kept.output_tokens) == (4, 1, 12)


@pytest.mark.parametrize(("routes", "cached"), [(PAIR, 4), ([("d0", "d0", 1.0, "local")], 6)])
async def test_cached_tokens_are_those_of_where_the_prompt_was_computed(pair, path: Path, routes, cached):
    """A decode engine that was sent the KV calls all of the prompt cached."""
    for engine, found in ((pair["p0"], 4), (pair["d0"], 6)):
        engine._usage = lambda tokens, found=found: {
            "prompt_tokens": 7,
            "completion_tokens": tokens,
            "prompt_tokens_details": {"cached_tokens": found},
        }
    key, text = make(path)
    book = UsageBook()
    document = routes_document(pair, routes)
    async with routing(path.parent, document, keys=KeyRing(path), usage=book) as router, client(router, text) as asking:
        await chat(asking)
    assert (book.by_key[key.id].prompt_tokens, book.by_key[key.id].cached_tokens) == (7, cached)


def test_a_book_that_can_not_be_read_is_begun_anew(tmp_path: Path, caplog):
    book = tmp_path / "usage.json"
    book.write_text("{")
    assert UsageBook(book).by_key == {}
    assert "counted anew" in caplog.text


def test_a_book_that_can_not_be_read_is_kept_beside_the_new_one(tmp_path: Path):
    path = tmp_path / "usage.json"
    path.write_text("{ much")
    book = UsageBook(path)
    book.count("alice", RequestRecord(0.0, outcome="ok", prompt_tokens=3), 1.0)
    book.save()
    (kept,) = tmp_path.glob("usage.json.unreadable-*")
    assert kept.read_text() == "{ much"
    assert UsageBook(path).by_key["alice"].prompt_tokens == 3
    path.write_text("torn")
    book.count("alice", RequestRecord(0.0, outcome="ok", prompt_tokens=4), 1.0)
    book.save()
    assert UsageBook(path).by_key["alice"].prompt_tokens == 7


@pytest.mark.parametrize("entry", [{"requests": "3"}, {"requests": None}, {"last_used_at": "yesterday"}])
def test_so_is_one_whose_figures_are_none(tmp_path: Path, entry: dict[str, object]):
    path = tmp_path / "usage.json"
    path.write_text(json.dumps({"keys": {"alice": entry}}))
    book = UsageBook(path)
    book.count("alice", RequestRecord(0.0, outcome="ok", prompt_tokens=3), 1.0)
    book.save()
    assert UsageBook(path).by_key["alice"].prompt_tokens == 3


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": "tomorrow"},
        {"expires_at": float("nan")},
        {"digest": 5},
        {"requests_per_minute": float("nan")},
        {"tokens_per_minute": 1.5},
        {"id": 7},
    ],
)
def test_a_key_that_no_request_could_be_held_against_is_refused_when_it_is_read(path: Path, change: dict[str, object]):
    """Else it would not end, have no limit, or fail the requests that bear it."""
    key, _ = make(path)
    path.write_text(json.dumps({"schema": KEYS_SCHEMA, "keys": [asdict(key) | change]}))
    with pytest.raises(SpecError, match="can't be read"):
        read_keys(path)


def test_two_routers_over_one_file_of_keys_keep_one_account(tmp_path: Path):
    path = tmp_path / "usage.json"
    one, other = UsageBook(path), UsageBook(path)
    for book, outcome in ((one, "ok"), (other, "ok"), (other, "shed"), (one, "ok")):
        book.count("alice", RequestRecord(0.0, outcome=outcome, output_tokens=2), 1.0)
        book.save()
    kept = UsageBook(path).by_key["alice"]
    assert (kept.requests, kept.refused, kept.output_tokens) == (3, 1, 8)
    assert one.by_key["alice"] == kept


@given(st.integers(1, 600), st.lists(st.tuples(st.floats(0, 90), st.integers(0, 5)), max_size=30))
def test_a_key_never_gets_more_than_a_minutes_worth_and_what_has_refilled(per_minute: int, steps):
    clock = Clock(0.0)
    limits, taken = KeyLimits(per_minute, None, clock), 0
    for seconds, asked in steps:
        clock.seconds += seconds
        taken += sum(limits.ask() is None for _ in range(asked))
        assert taken <= per_minute + clock.seconds * per_minute / 60 + 1e-6


@given(st.integers(1, 10_000), st.floats(0.0, 1e5))
def test_after_the_wait_that_is_stated_it_is_there(per_minute: int, taken: float):
    clock = Clock(0.0)
    bucket = TokenBucket(per_minute, clock)
    bucket.take(taken)
    clock.seconds += bucket.wait_s(1.0)
    assert bucket.level >= 1.0 - 1e-6


async def test_requests_of_the_same_key_may_run_together(pair, path: Path):
    _, text = make(path)
    async with keyed(pair, path) as router, client(router, text) as asking:
        answers = await asyncio.gather(*(chat(asking) for _ in range(5)))
    assert len({answer.id for answer in answers}) == 5
