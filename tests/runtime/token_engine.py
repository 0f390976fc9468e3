"""An engine with tokens, for the tests of token replay: it says a script, and turns ids into text as vLLM 0.32 does.

A prompt's tokens are its bytes; a script's are pieces of bytes that may end in the middle of a character. What comes
next depends on the ids of the context alone, as it does in an engine that decodes greedily.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes import FakeEngine

SCRIPT = (b" Caf", b"\xc3", b"\xa9", b" is", b" \xf0\x9f", b"\x98", b"\x80", b" open", b".\n", b"\nBye", b" now")
FIRST_ID = 1000
END_ID = 999
HALF = "\ufffd"


def prompt_ids(body: dict[str, Any]) -> list[int]:
    """What a request's prompt is in tokens; ids that come with the transfer's words stand for a chat's messages."""
    if ids := (body.get("kv_transfer_params") or {}).get("prompt_token_ids"):
        return list(ids)
    prompt = body["prompt"] if "prompt" in body else f"<user>{body['messages'][-1]['content']}<assistant>"
    return list(prompt.encode()) if isinstance(prompt, str) else list(prompt)


@dataclass
class DecodeStream:
    """`tokenizers.decoders.DecodeStream`, primed with a prompt: text comes out only at the end of whole characters."""

    script: Sequence[bytes]
    ids: list[int]
    prefix: str = ""
    prefix_index: int = 0

    def decode(self, ids: Sequence[int]) -> str:
        pieces = [self.script[i - FIRST_ID] if i >= FIRST_ID else bytes([i]) for i in ids if i != END_ID]
        return b"".join(pieces).decode(errors="replace")

    def step(self, token: int) -> str:
        if not self.prefix and self.ids and not (prefix := self.decode(self.ids)).endswith(HALF):
            self.prefix, self.prefix_index = prefix, len(self.ids)
        self.ids.append(token)
        text = self.decode(self.ids)
        if len(text) <= len(self.prefix) or text.endswith(HALF):
            return ""
        new = text[len(self.prefix) :]
        self.ids, self.prefix_index = self.ids[self.prefix_index :], len(self.ids) - self.prefix_index
        self.prefix = self.decode(self.ids)
        return new


@dataclass(frozen=True)
class Piece:
    """What one step adds to an answer."""

    ids: list[int]
    text: str
    finish: str | None


def generate(
    script: Sequence[bytes], body: dict[str, Any], *, batch: int = 1, chat_tokens: int = 10**6
) -> Iterator[Piece]:
    """The pieces of an answer, `batch` tokens each: a server that lags joins them."""
    context = prompt_ids(body)
    said = sum(i >= FIRST_ID for i in context)
    assert context[len(context) - said :] == [FIRST_ID + k for k in range(said)], "these ids were not emitted"
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or (chat_tokens if "messages" in body else 16)
    tokens = [*range(FIRST_ID + said, FIRST_ID + len(script)), END_ID]
    stops = [stop] if isinstance(stop := body.get("stop") or [], str) else stop
    lag = max((len(stop) - 1 for stop in stops), default=0)
    stream, whole, sent, waiting = DecodeStream(script, context), "", 0, []
    for count, token in enumerate(tokens, start=1):
        whole += stream.step(token) if token != END_ID else ""
        waiting.append(token)
        ends = [whole.find(stop) for stop in stops if stop in whole and count > (body.get("min_tokens") or 0)]
        finish = "stop" if ends or token == END_ID else "length" if count == limit else None
        if ends:
            whole = whole[: min(ends)]
        if finish or len(waiting) == batch:
            end = len(whole) if finish else max(len(whole) - lag, sent)
            yield Piece(waiting, whole[sent:end], finish)
            sent, waiting = max(sent, end), []
        if finish:
            return


@dataclass
class TokenEngine(FakeEngine):
    """A fake whose streams are of tokens. `break_after` counts its events, a role's and a usage's among them.

    With `drip` it dies no sooner than it is `released`; `torn`, an answer that is not streamed breaks off half way.
    """

    script: Sequence[bytes] = SCRIPT
    batch: int = 1
    says_ids: bool = True
    dies_aloud: bool = False
    """It reports an error in its stream, as vLLM does when its engine core dies, instead of breaking off."""
    dead_tokenizer: bool = False
    cached: int | None = None
    default_max_tokens: int = 10**6
    """Of a chat that states no limit, as the model's generation config has it."""
    read: list[list[int]] = field(default_factory=list)

    def app(self, prefix: str = "") -> web.Application:
        app = super().app(prefix)
        app.router.add_post(f"{prefix}/detokenize", self._detokenize)
        return app

    async def _detokenize(self, request: web.Request) -> web.Response:
        tokens = (await request.json())["tokens"]
        self.read.append(tokens)
        if self.dead_tokenizer:
            return web.json_response({}, status=500)
        return web.json_response({"prompt": DecodeStream(self.script, []).decode(tokens)})

    def _pieces(self, body: dict[str, Any]) -> Iterator[Piece]:
        return generate(self.script, body, batch=self.batch, chat_tokens=self.default_max_tokens)

    def _usage(self, tokens: int) -> dict[str, Any]:
        return super()._usage(tokens) | self._details

    @property
    def _details(self) -> dict[str, Any]:
        return {} if self.cached is None else {"prompt_tokens_details": {"cached_tokens": self.cached}}

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, document in enumerate([*self._documents(body), None]):
            if number == self.break_after:
                if self.drip:
                    await self.released.wait()
                await self._die(request, response)
                return response
            data = json.dumps(document, separators=(",", ":"), ensure_ascii=False) if document else "[DONE]"
            await response.write(f"data: {data}\n\n".encode())
        return response

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body.get("stream") or self.break_after is None or not self.torn:
            return await super()._answer(request, body)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"choices": [{"te')
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _die(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.dies_aloud:
            await response.write(b'data: {"error":{"message":"EngineCore died","code":500}}\n\ndata: [DONE]\n\n')
            return
        if self.torn:
            await response.write('data: {"choices":[{"index":0,"text":"é'.encode()[:-1])
            await asyncio.sleep(0)
        assert request.transport is not None
        request.transport.abort()

    def _documents(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of an answer, in the order and with the words of vLLM."""
        ids, chat = prompt_ids(body), "messages" in body
        shown = bool(body.get("return_token_ids")) and self.says_ids
        kind = "chat.completion.chunk" if chat else "text_completion"
        head = {"id": f"{self.name}-{len(self.seen)}", "object": kind, "created": len(self.seen), "model": "tiny"}
        options = body.get("stream_options") or {}
        count = 0

        def usage() -> dict[str, Any]:
            tokens = {"prompt_tokens": len(ids), "total_tokens": len(ids) + count, "completion_tokens": count}
            return tokens | self._details

        if chat:
            first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            yield {**head, "choices": [first], "prompt_token_ids": ids if shown else None}
        for number, piece in enumerate(self._pieces(body)):
            count += len(piece.ids)
            said = {"delta": {"content": piece.text}} if chat else {"text": piece.text}
            choice = {"index": 0, **said, "logprobs": None, "finish_reason": piece.finish, "stop_reason": None}
            if not chat:
                choice["prompt_token_ids"] = ids if shown and number == 0 else None
            choice["token_ids"] = piece.ids if shown else None
            running = {"usage": usage()} if options.get("continuous_usage_stats") else {}
            yield {**head, "choices": [choice], **running}
        if options.get("include_usage"):
            yield {**head, "choices": [], "usage": usage()}
