"""One request on its way through the router: what it asked for, where it went, and what is known about it so far."""

import secrets
from dataclasses import dataclass, field

from aiohttp import web

from runtime.router.epochs import Epoch
from runtime.router.events import EventStream
from runtime.router.legs import ClientRequest, Usage
from runtime.router.observed import RequestRecord

REQUEST_ID = "X-Request-Id"
PASSED_HEADERS = (REQUEST_ID, "X-Vllm-Priority")
HEADER_LIMIT = 256


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
    """A request in the epoch it arrived in. `headers` go with both legs."""

    epoch: Epoch
    request: web.Request
    client: ClientRequest
    record: RequestRecord
    headers: dict[str, str]
    ticket: bytes | None = None
    response: web.StreamResponse | None = None
    events: EventStream = field(default_factory=EventStream)
    first_content_at: float | None = None
    last_content_at: float | None = None

    @property
    def path(self) -> str:
        return self.request.path

    def answered_with(self, usage: Usage | None) -> None:
        """Take the token counts that the decode leg stated; they are those of the request."""
        if usage:
            self.record.prompt_tokens, self.record.output_tokens = usage.prompt, usage.output

    def saw_content(self, at: float) -> None:
        if self.first_content_at is None:
            self.first_content_at = at
            self.record.ttft_s = at - self.record.arrived_at
        self.last_content_at = at

    def ended(self, at: float) -> None:
        """Work out the times and, for a stream that stated no usage, count its events."""
        record = self.record
        record.e2e_s = at - record.arrived_at
        if self.events.usage:
            self.answered_with(self.events.usage)
        elif self.events.content_events:
            record.output_tokens = self.events.content_events
        if self.first_content_at is None or self.last_content_at is None or not record.output_tokens:
            return
        later = record.output_tokens / self.client.choices - 1
        if later > 0:
            record.tpot_s = (self.last_content_at - self.first_content_at) / later


def leg_headers(request: web.Request) -> dict[str, str]:
    """What both legs carry: the same request id, the client's or a new one, and no credentials."""
    headers = {name: request.headers[name] for name in PASSED_HEADERS if _passes(request.headers.get(name, ""))}
    headers.setdefault(REQUEST_ID, secrets.token_hex(16))
    headers["Content-Type"] = "application/json"
    return headers


def _passes(value: str) -> bool:
    return 0 < len(value) <= HEADER_LIMIT and value.isascii() and value.isprintable()
