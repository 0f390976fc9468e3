"""What a key is charged where nobody states its tokens: streams that can't be replayed, clients that leave early."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.router.access.keys import KeyRing, new_key, write_keys
from runtime.router.watching.usage import KeyUsage, UsageBook
from tests.fakes import FakeEngine, serving
from tests.runtime.passed_engine import PassedEngine
from tests.runtime.routing import PAIR, Running, routes_document, routing, soon

LOCAL = [("m0", "m0", 1.0, "local")]
WORDS = "x" * 4000
TOOLS = {"tools": [{"type": "function"}]}
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 4000}}]}]


@dataclass
class Account:
    """A key and what it has used."""

    router: Running
    headers: dict[str, str]
    book: UsageBook
    key_id: str

    @property
    def used(self) -> KeyUsage:
        return self.book.by_key[self.key_id]

    async def ask(self, path: str, **body: object) -> str:
        async with self.router.http.post(self.router.url + path, json=body, headers=self.headers) as response:
            return await response.text()

    async def leave(self, path: str, engine: FakeEngine, events: int, **body: object) -> None:
        """Go when an engine that drips has said so many events with tokens, or hangs."""
        heard = asyncio.Event()

        async def ask() -> None:
            async with self.router.http.post(self.router.url + path, json=body, headers=self.headers) as response:
                for _ in range(events):
                    while b"delta" not in (event := await response.content.readuntil(b"\n\n")) and b"text" not in event:
                        pass
                heard.set()
                await response.read()

        task = asyncio.create_task(ask())
        await soon(heard if events else engine.arrived)
        task.cancel()
        await soon(engine.cancelled)
        async with asyncio.timeout(10):
            while not self.used.requests:
                await asyncio.sleep(0)


@asynccontextmanager
async def account(folder: Path, engines: dict[str, FakeEngine], routes):
    key, text = new_key("alice", created_at=0.0)
    write_keys(folder / "keys.json", [key])
    book = UsageBook()
    async with (
        serving(*engines.values()),
        routing(folder, routes_document(engines, routes), keys=KeyRing(folder / "keys.json"), usage=book) as router,
    ):
        yield Account(router, {"Authorization": f"Bearer {text}"}, book, key.id)


@pytest.mark.parametrize("words", [{"seed": 1}, TOOLS, {"n": 1, "logprobs": 2}, {"seed": 1, "stream_options": {}}])
@pytest.mark.parametrize("routes", [PAIR, LOCAL])
async def test_a_stream_without_token_ids_is_charged_by_the_usage_that_its_client_does_not_read(
    tmp_path, words, routes
):
    engines = {name: FakeEngine(name) for name in ("p0", "d0", "m0")}
    async with account(tmp_path, engines, routes) as alice:
        text = await alice.ask("/v1/completions", prompt="hi", stream=True, max_tokens=3, **words)
        assert (alice.used.prompt_tokens, alice.used.output_tokens) == (7, 3)
    assert '"usage"' not in text
    assert text.endswith("data: [DONE]\n\n")
    assert text.count("data: {") == 3


async def test_one_that_asks_for_its_usage_reads_it(tmp_path: Path):
    options = {"seed": 1, "stream": True, "stream_options": {"include_usage": True}}
    async with account(tmp_path, {"m0": FakeEngine("m0")}, LOCAL) as alice:
        text = await alice.ask("/v1/completions", prompt="hi", max_tokens=3, **options)
    assert json.loads(text.split("\n\n")[-3].removeprefix("data: "))["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_before_the_first_token_is_charged_what_the_prompt_should_have(tmp_path: Path, streamed: bool):
    engine = FakeEngine("m0", hang=True)
    async with account(tmp_path, {"m0": engine}, LOCAL) as alice:
        await alice.leave("/v1/completions", engine, 0, prompt="x" * 4000, stream=streamed)
        assert 1000 < alice.used.prompt_tokens < 1020
        assert alice.used.output_tokens == 0


async def test_so_is_who_leaves_while_the_prompt_is_computed_elsewhere(tmp_path: Path):
    engines = {"p0": FakeEngine("p", hang=True), "d0": FakeEngine("d")}
    async with account(tmp_path, engines, PAIR) as alice:
        await alice.leave("/v1/completions", engines["p0"], 0, prompt="x" * 4000)
        assert 1000 < alice.used.prompt_tokens < 1020


async def test_who_leaves_is_charged_for_the_text_beside_a_picture_and_not_by_the_bytes_of_that(tmp_path: Path):
    engine = FakeEngine("m0", hang=True)
    async with account(tmp_path, {"m0": engine}, LOCAL) as alice:
        await alice.leave("/v1/chat/completions", engine, 0, messages=[*PICTURE, {"role": "user", "content": WORDS}])
        assert 1000 < alice.used.prompt_tokens < 1060


async def test_what_tools_said_is_text(tmp_path: Path):
    engine = PassedEngine("m0", hang=True)
    said = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": WORDS}]}]
    async with account(tmp_path, {"m0": engine}, LOCAL) as alice:
        await alice.leave("/v1/messages", engine, 0, messages=said, max_tokens=3)
        assert 1000 < alice.used.prompt_tokens < 1060


async def test_what_an_engine_refuses_is_not_charged(tmp_path: Path):
    async with account(tmp_path, {"m0": FakeEngine("m0", status=400)}, LOCAL) as alice:
        await alice.ask("/v1/completions", prompt="x" * 4000)
        assert (alice.used.requests, alice.used.prompt_tokens) == (1, 0)


async def test_events_of_many_tokens_count_for_so_many(tmp_path: Path):
    """Its first has one token, those after it as many as the client asked for at a time."""
    engine = FakeEngine("m0", drip=True)
    async with account(tmp_path, {"m0": engine}, LOCAL) as alice:
        words = {"seed": 1, "stream": True, "stream_interval": 1000}
        engine.released.set()
        engine.silent_end = True
        await alice.ask("/v1/completions", prompt="hi", max_tokens=3, **words)
        assert alice.used.output_tokens == 2001


async def test_a_message_is_charged_from_its_first_event_on(tmp_path: Path):
    engine = PassedEngine("m0", drip=True)
    async with account(tmp_path, {"m0": engine}, LOCAL) as alice:
        messages = [{"role": "user", "content": "hello"}]
        await alice.leave("/v1/messages", engine, 1, messages=messages, max_tokens=3, stream=True)
        assert (alice.used.prompt_tokens, alice.used.output_tokens) == (7, 1)
