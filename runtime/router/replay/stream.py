"""The events of an engine that goes on where another broke off, written as if they were the first one's."""

import json
from typing import Any

from runtime.router.legs.events import BLANK_LINE, DATA, DONE, EventStream
from runtime.router.legs.transcript import Transcript
from runtime.router.legs.usage import Usage
from runtime.router.replay.cut import Continuation, check_plain, readable, text

USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


class ContinuedStream(EventStream):
    """Each event gets the answer's id and time; its usage is the whole answer's; a role was stated long ago."""

    def __init__(self, continuation: Continuation) -> None:
        super().__init__(Transcript(continuation.head))
        self.spent = continuation.spent
        self._head = continuation.head

    def _passed(self, events: bytes) -> bytes:
        pieces = BLANK_LINE.split(super()._passed(events))
        with readable():
            return b"".join(self._rewritten(event, end) for event, end in zip(pieces[::2], pieces[1::2], strict=False))

    def _rewritten(self, event: bytes, end: bytes) -> bytes:
        if not event.startswith(DATA) or event == DONE:
            return event + end
        document = json.loads(event.removeprefix(DATA))
        if "choices" not in document:
            return event + end
        check_plain([document])
        if any(_is_role(choice) for choice in document["choices"]):
            return b""
        if usage := document.get("usage"):
            document["usage"] = self._whole(usage)
        return written(document | self._head, end)

    def _whole(self, usage: dict[str, Any]) -> dict[str, Any]:
        """Usage of the whole answer from that of its last part, whose prompt was the prompt and what was said."""
        stated = Usage(usage["prompt_tokens"] - self.spent, usage["completion_tokens"] + self.spent, self.cached)
        self.usage = stated
        return usage_of(stated)


def held_event(last: dict[str, Any], held: str, end: bytes = b"\n\n") -> bytes:
    """What an engine still held back when it broke off, as an event like its `last` one."""
    said = {"delta": {"content": held}} if "chat" in last["object"] else {"text": held}
    return written(_bare(last) | {"choices": [{"index": 0, **said, "logprobs": None, "finish_reason": None}]}, end)


def end_events(last: dict[str, Any], usage: Usage | None, end: bytes = b"\n\n") -> bytes:
    """The end of a stream that had said all, with its `usage` if that is still to come."""
    stated = written(_bare(last) | {"choices": [], "usage": usage_of(usage)}, end) if usage else b""
    return stated + DONE + end


def usage_of(usage: Usage) -> dict[str, Any]:
    stated = dict(zip(USAGE, (usage.prompt, usage.output, usage.prompt + usage.output), strict=True))
    return stated if usage.cached is None else {**stated, "prompt_tokens_details": {"cached_tokens": usage.cached}}


def written(document: dict[str, Any], end: bytes) -> bytes:
    return DATA + json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + end


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("id", "object", "created", "model") if key in document}


def _is_role(choice: dict[str, Any]) -> bool:
    return bool(choice.get("delta", {}).get("role")) and not text(choice) and not choice.get("finish_reason")
