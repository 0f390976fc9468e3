"""A fake engine: speaks enough of vLLM's HTTP surface to stand behind the router or an agent, and does as it is told.

It answers with counting words (`w1 w2 …`), remembers what it got, and can be told to refuse, hang, drip or break off.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PROMPT_TOKENS = 7
OUTPUT_TOKENS = 5


@dataclass
class Seen:
    """One request that reached the fake."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def transfer(self) -> dict[str, Any]:
        return self.body.get("kv_transfer_params") or {}


@dataclass
class FakeEngine:
    """What it does with the next requests. All delays are events, so that no test sleeps.

    `status` answers every request with that status. `hang` holds answers until `released` is set, `drip` holds each
    event of a stream after the first. `break_after` breaks the connection after that many events of a stream (0: before
    the first), with `torn` in the middle of the next; `break_next` once, before anything is answered. `silent_end` ends
    a stream as if it were whole.
    """

    name: str = "fake"
    status: int = 200
    error: str = "told to fail"
    hang: bool = False
    drip: bool = False
    break_after: int | None = None
    torn: bool = False
    break_next: bool = False
    silent_end: bool = False
    healthy: bool = True
    gives_ticket: bool = True
    returns_transfer: bool = False
    output_tokens: int = OUTPUT_TOKENS
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def app(self, prefix: str = "") -> web.Application:
        """Its application; with a prefix it also stands in for the agent before it."""
        app = web.Application()
        app.router.add_get(f"{prefix}/health", self._health)
        app.router.add_get(f"{prefix}/metrics", self._metrics)
        app.router.add_post(f"{prefix}/v1/chat/completions", self._complete)
        app.router.add_post(f"{prefix}/v1/completions", self._complete)
        app.router.add_post("/kv/drop", self._drop)
        return app

    @property
    def prefills(self) -> list[Seen]:
        return [request for request in self.seen if request.transfer.get("do_remote_decode")]

    @property
    def decodes(self) -> list[Seen]:
        return [request for request in self.seen if not request.transfer.get("do_remote_decode")]

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=METRICS)

    async def _drop(self, request: web.Request) -> web.Response:
        self.dropped.append(await request.json())
        self.released.set()
        return web.json_response({"known": True})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(Seen(request.path, body, request.headers.copy()))
        self.arrived.set()
        try:
            if self.hang:
                await self.released.wait()
            return await self._answer(request, body)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if self.break_next:
            self.break_next = False
            _break(request)
        if self.status != 200:
            return web.json_response({"error": {"message": self.error, "code": self.status}}, status=self.status)
        if body.get("stream"):
            return await self._stream(request, body)
        if self.break_after is not None:
            _break(request)
        tokens = body.get("max_tokens") or self.output_tokens
        chat = request.path.endswith("/chat/completions")
        text = "".join(self._words(tokens))
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        answer: dict[str, Any] = {
            "id": request.headers.get("X-Request-Id", ""),
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": "tiny",
            "choices": [{"index": 0, "finish_reason": "length", **choice}],
            "usage": self._usage(tokens),
            "kv_transfer_params": None,
        }
        if body.get("kv_transfer_params", {}).get("do_remote_decode"):
            answer["kv_transfer_params"] = self._ticket(request) if self.gives_ticket else None
        elif self.returns_transfer:
            answer["kv_transfer_params"] = {"left": "over"}
        return web.json_response(answer)

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        if self.break_after == 0:
            await self._tear(request, response)
        chat = request.path.endswith("/chat/completions")
        tokens = body.get("max_tokens") or self.output_tokens
        if chat:
            await response.write(_event(_chunk({"delta": {"role": "assistant", "content": ""}}, chat)))
        for number, word in enumerate(self._words(tokens), start=1):
            finish = "length" if number == tokens else None
            piece = {"delta": {"content": word}} if chat else {"text": word}
            document = _chunk({**piece, "finish_reason": finish}, chat)
            if self.returns_transfer and finish:
                document["kv_transfer_params"] = {"left": "over"}
            await response.write(_event(document))
            if self.break_after == number:
                await self._tear(request, response)
            if self.drip:
                await self.released.wait()
        if self.silent_end:
            return response
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(_event({**_chunk({}, chat), "choices": [], "usage": self._usage(tokens)}))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _tear(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.torn:
            await response.write(b'data: {"choices": [{"te')
            await asyncio.sleep(0)
        _break(request)

    def _words(self, count: int) -> list[str]:
        return [f" {self.name}{number}" for number in range(1, count + 1)]

    def _usage(self, tokens: int) -> dict[str, int]:
        return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}

    def _ticket(self, request: web.Request) -> dict[str, Any]:
        return {"do_remote_prefill": True, "ticket": f"{self.name}-{len(self.seen)}", "capability": "c"}


METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
"""


@asynccontextmanager
async def serving(
    *engines: FakeEngine, prefix: str = "", ssl_context: Any = None, unix_path: str = ""
) -> AsyncIterator[None]:
    """Run fakes, each on a free loopback port (its `url` says which) or all of one on a Unix socket."""
    runners = []
    try:
        for engine in engines:
            runner = web.AppRunner(engine.app(prefix), handler_cancellation=True, shutdown_timeout=0.01)
            runners.append(runner)
            await runner.setup()
            if unix_path:
                await web.UnixSite(runner, unix_path).start()
                continue
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
            await site.start()
            scheme = "https" if ssl_context else "http"
            engine.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        yield
    finally:
        for _ in range(10):  # connections that are being accepted now must be known to the server to be closed by it
            await asyncio.sleep(0)
        for runner in runners:
            await runner.cleanup()


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _chunk(choice: dict[str, Any], chat: bool) -> dict[str, Any]:
    kind = "chat.completion.chunk" if chat else "text_completion"
    return {"id": "x", "object": kind, "created": 0, "model": "tiny", "choices": [{"index": 0, **choice}]}


def _break(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError("told to break off")
