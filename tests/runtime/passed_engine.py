"""A fake engine that also speaks what the router passes on whole: Responses, Messages, tokens. In vLLM 0.32's words."""

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.fakes import PROMPT_TOKENS, FakeEngine

CACHED = 3
USAGES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"input_tokens": PROMPT_TOKENS, "input_tokens_details": {"cached_tokens": CACHED}},
    "/v1/messages": {"input_tokens": PROMPT_TOKENS - CACHED, "cache_read_input_tokens": CACHED},
}
ASKED = {"/v1/messages/count_tokens": {"input_tokens": PROMPT_TOKENS}, "/tokenize": {"count": 1, "tokens": [5]}}
LEFT_OVER = {"left": "over"}


class PassedEngine(FakeEngine):
    """What it is told, it does on these paths too: `status`, `break_after` (events), `drip`, `returns_transfer`."""

    def app(self, prefix: str = "") -> web.Application:
        app = super().app(prefix)
        for path in (*USAGES, *ASKED, "/detokenize"):
            app.router.add_post(f"{prefix}{path}", self._complete)
        return app

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        streamed_or_told = body.get("stream") or self.break_next or self.status != 200
        if request.path.endswith("completions") or streamed_or_told:
            return await super()._answer(request, body)
        if request.path in USAGES:
            return web.json_response(self._whole(request.path, body))
        return web.json_response(ASKED.get(request.path, {"prompt": "!"}))

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if request.path not in USAGES:
            return await super()._stream(request, body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, event in enumerate(self._events(request.path, body)):
            if self.break_after == number:
                await self._tear(request, response)
            data = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
            await response.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
            if self.drip and "delta" in event["type"]:
                await self.released.wait()
        return response

    def _events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        whole, words = self._whole(path, body), self._words(self._count(body))
        if path == "/v1/messages":
            yield {"type": "message_start", "message": {**whole, "content": [], "usage": {"input_tokens": 7}}}
            yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
            for word in words:
                yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            yield {"type": "content_block_stop", "index": 0}
            yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": whole["usage"]}
            yield {"type": "message_stop"}
            return
        yield {"type": "response.created", "response": {**whole, "output": [], "usage": None}, "sequence_number": 0}
        item = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        for number, word in enumerate(words, start=1):
            yield {"type": "response.output_text.delta", "delta": word, "sequence_number": number, **item}
        yield {"type": "response.completed", "response": whole, "sequence_number": len(words) + 1}

    def _whole(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        text, count = "".join(self._words(self._count(body))), self._count(body)
        usage = {**USAGES[path], "output_tokens": count}
        transfer = {"kv_transfer_params": LEFT_OVER} if self.returns_transfer else {}
        if path == "/v1/messages":
            content = [{"type": "text", "text": text}]
            head = {"id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "tiny"}
            return {**head, "content": content, "stop_reason": "end_turn", "usage": usage, **transfer}
        parts = [{"type": "output_text", "text": text, "annotations": []}]
        output = [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": parts}]
        usage |= {"total_tokens": PROMPT_TOKENS + count, "output_tokens_details": {"reasoning_tokens": 0}}
        head = {"id": "resp_1", "object": "response", "created_at": 0, "model": "tiny", "status": "completed"}
        said = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return {**head, **said, "output": output, "usage": usage, **transfer}

    def _count(self, body: dict[str, Any]) -> int:
        return body.get("max_output_tokens") or body.get("max_tokens") or self.output_tokens
