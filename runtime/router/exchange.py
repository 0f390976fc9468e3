"""One request on its way through the router: what it asked for, where it went, and what is known about it so far."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from runtime.router.epochs import Epoch
from runtime.router.events import EventStream
from runtime.router.legs import ClientRequest, Usage
from runtime.router.observed import RequestRecord
from runtime.router.replay import Continuation, Cut, continued
from runtime.router.replay_transcript import Transcript
from runtime.router.replayed import ContinuedStream

REQUEST_ID = "X-Request-Id"
PRIORITY = "X-Vllm-Priority"
HEADER_LIMIT = 256
RECORD = web.RequestKey("record", RequestRecord)
"""What is known of a request, from its arrival on."""


class Answered(Exception):
    """An engine answered for good with something that is passed on as it is: a client's error."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


class ClientGone(Exception):
    """The client closed its connection while it was sent `response`."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__("the client closed its connection")
        self.response = response


@dataclass(slots=True)
class Exchange:
    """A request in the epoch it arrived in. `headers` go with both legs.

    `failed` are replicas that broke off its stream, `moves` counts the times that others were to take it up, and
    `continuation` is there once one has.
    """

    epoch: Epoch
    request: web.Request
    client: ClientRequest
    record: RequestRecord
    headers: dict[str, str]
    ticket: bytes | None = None
    response: web.StreamResponse | None = None
    events: EventStream = field(default_factory=EventStream)
    failed: frozenset[str] = frozenset()
    moves: int = 0
    continuation: Continuation | None = None
    first_content_at: float | None = None
    last_content_at: float | None = None

    @property
    def path(self) -> str:
        return self.request.path

    def listen(self) -> None:
        """Begin with the events of a leg: an earlier one may have left half an event."""
        if self.continuation is not None:
            self.events = ContinuedStream(self.continuation)
        else:
            self.events = EventStream(None if self.client.obstacle else Transcript())

    def go_on(self, at: Cut) -> None:
        """Be a request for the rest of the answer. Raises CannotReplay."""
        self.client = continued(self.client, at)
        head: dict[str, Any] = {key: at.last[key] for key in ("id", "created") if key in at.last}
        self.continuation = Continuation(head, self.events.spent + len(at.output))
        self.record.prefill, self.record.codec = None, ""

    def answered_with(self, usage: Usage | None) -> None:
        """Take the token counts that the decode leg stated; they are those of the request."""
        if usage:
            self.record.prompt_tokens, self.record.output_tokens = usage.prompt, usage.output
            if self.record.prefill is None:  # else all of the prompt was there: what prefill said counts
                self.record.cached_tokens = usage.cached

    def saw_content(self, at: float) -> None:
        if self.first_content_at is None:
            self.first_content_at = at
            self.record.ttft_s = at - self.record.arrived_at
        self.last_content_at = at

    def ended(self, at: float) -> None:
        """Work out the times and, for a stream that stated no usage, count its events."""
        record = self.record
        record.e2e_s = at - record.arrived_at
        if tokens := self.events.tokens:
            self.answered_with(tokens)
        elif self.events.content_events:
            record.output_tokens = self.events.content_events
        if self.first_content_at is None or self.last_content_at is None or not record.output_tokens:
            return
        later = record.output_tokens / self.client.choices - 1
        if later > 0:
            record.tpot_s = (self.last_content_at - self.first_content_at) / later


def request_id(request: web.Request) -> str:
    """The client's own, where it is one that can be passed on, else a new one."""
    said = request.headers.get(REQUEST_ID, "")
    return said if _passes(said) else secrets.token_hex(16)


def leg_headers(request: web.Request, request_id: str) -> dict[str, str]:
    """What both legs carry: the same request id, and no credentials."""
    headers = {REQUEST_ID: request_id, "Content-Type": "application/json"}
    if _passes(priority := request.headers.get(PRIORITY, "")):
        headers[PRIORITY] = priority
    return headers


def _passes(value: str) -> bool:
    return 0 < len(value) <= HEADER_LIMIT and value.isascii() and value.isprintable()
