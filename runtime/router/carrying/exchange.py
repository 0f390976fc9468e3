"""One request on its way through the router: what it asked for, where it went, and what is known about it so far."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runtime.messages import ReplicaAddress
from runtime.router import web
from runtime.router.carrying.prefilling import Prefilling
from runtime.router.choosing.affinity import SESSION, Prompt
from runtime.router.choosing.epochs import Epoch, same_place
from runtime.router.choosing.load import Booking
from runtime.router.legs.events import EventStream
from runtime.router.legs.passed import PassedEvents
from runtime.router.legs.request import ClientRequest
from runtime.router.legs.transcript import Transcript
from runtime.router.legs.usage import Usage, with_cached
from runtime.router.replay.cut import Continuation, Cut, continued
from runtime.router.replay.stream import ContinuedStream
from runtime.router.surface.apis import APIS
from runtime.router.watching.observed import RequestRecord

if TYPE_CHECKING:
    from runtime.router.carrying.suffered import Suffered
    from runtime.router.watching.traces import Trace

REQUEST_ID = "X-Request-Id"
PRIORITY = "X-Vllm-Priority"
HEADER_LIMIT = 256
CLIENTS_PART = 128
"""Characters of the client's request id in the one that the legs carry."""
LEFT = frozenset({"", "cancelled", "late"})
"""Outcomes, as far as they are known at its end, of a request that nobody waits for any more."""
TRACE: "web.RequestKey[Trace]" = web.RequestKey("trace")
"""Where a request that is traced has its `Trace`."""
CLIENT = web.RequestKey("client", ClientRequest)
"""What a request asks, once its body is read."""
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
    """A request in the epoch it arrived in, or a later one that it was to `follow`. `headers` go with both legs.

    `failed` are replicas that broke off its stream, and when (s, the clock of their health). `suffered` are all that
    failed while they had it. `asked` is where each was that it went to, and `asked_at` when (s, the loop's clock).
    `moves` counts the times that others were to take it up, and `continuation` is there once one has. `booking` is its
    part of the load, and `prefilling` its prefill leg, where that may go on beside its decode leg. `prefilled_again`:
    as no replica could use the ticket of the first time. `waited_s` is how long it was without any replica.
    """

    epoch: Epoch
    request: web.Request
    client: ClientRequest
    record: RequestRecord
    headers: dict[str, str]
    ticket: bytes | None = None
    prefilling: Prefilling | None = None
    response: web.StreamResponse | None = None
    events: EventStream = field(default_factory=EventStream)
    failed: dict[str, float] = field(default_factory=dict)
    suffered: "dict[str, Suffered]" = field(default_factory=dict)
    asked: dict[str, ReplicaAddress] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)
    prefilled_again: bool = False
    waited_s: float = 0.0
    moves: int = 0
    continuation: Continuation | None = None
    first_content_at: float | None = None
    last_content_at: float | None = None
    booking: Booking = field(init=False)

    def __post_init__(self) -> None:
        self.booking = Booking(self.epoch.load, len(self.client.body), self.client.sequences)
        self.record.so_far = self.so_far

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.client.document, self.client.text_bytes, self.request.headers.get(SESSION, ""))

    @property
    def needs_local(self) -> bool:
        """Whether its prompt must be computed where it is decoded. Another model's name is that of an adapter."""
        return self.client.needs_local or self.client.model not in ("", self.epoch.routes.model)

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def trace(self) -> "Trace | None":
        """Where it is traced."""
        return self.request.get(TRACE)

    @property
    def cached(self) -> int | None:
        """How many tokens the client is told were cached: those where its prompt was computed, not those that came.

        None: as the engine says that answers.
        """
        return None if self.record.prefill is None and self.continuation is None else self.record.cached_tokens

    @property
    def computing(self) -> str | None:
        """The prefill replica, while it computes the prompt beside a decode leg."""
        return self.record.prefill if self.prefilling is not None and self.prefilling.goes_on else None

    @property
    def waited(self) -> str:
        """How long it was without any replica, for the end of an error; empty where it never was."""
        return f" (it waited {self.waited_s:.1f} s for one)" if self.waited_s else ""

    def begun(self) -> bool:
        """Whether the client has got a part of its answer."""
        return self.response is not None

    def follow(self, epoch: Epoch) -> bool:
        """Go on by another plan, where that is of the same model; whether it does."""
        if epoch is self.epoch or epoch.routes.model != self.epoch.routes.model:
            return False
        self.epoch.in_flight -= 1
        self.epoch = epoch
        self.epoch.in_flight += 1
        self.failed = {one: at for one, at in self.failed.items() if self.knows(one)}
        return True

    def knows(self, replica: str) -> bool:
        """Whether its plan has a replica where that was asked: one at another address was not."""
        asked, there = self.asked.get(replica), self.epoch.replicas.get(replica)
        return asked is not None and there is not None and same_place(asked, there)

    def pardon(self, came_back: Callable[[str, float], bool]) -> None:
        """Forget the failures of replicas that a probe has let in again since."""
        self.failed = {one: at for one, at in self.failed.items() if not came_back(one, at)}

    def forget_prefill(self) -> None:
        """No replica has computed its prompt for another."""
        self.record.prefill, self.record.codec = None, ""
        if self.continuation is None:
            self.record.cached_tokens = None

    def listen(self) -> None:
        """Begin with the events of a leg: an earlier one may have left half an event."""
        if self.continuation is not None:
            self.events = ContinuedStream(self.continuation)
        elif not APIS[self.path].splits:
            self.events = PassedEvents()
        else:
            self.events = EventStream(
                None if self.client.obstacle else Transcript(), drops_usage=self.client.adds_usage
            )
        self.events.cached = self.cached

    def go_on(self, at: Cut) -> None:
        """Be a request for the rest of the answer. Raises CannotReplay."""
        self.client = continued(self.client, at, self.epoch.routes.default_max_tokens)
        head: dict[str, Any] = {key: at.last[key] for key in ("id", "created") if key in at.last}
        self.continuation = Continuation(head, self.events.spent + len(at.output))
        self.record.prefill, self.record.codec = None, ""  # its cached tokens stay: they are those of all of it

    def answered_with(self, usage: Usage | None) -> None:
        """Take the token counts that the decode leg stated; they are those of the request."""
        if usage:
            self.record.prompt_tokens, self.record.output_tokens = usage.prompt, usage.output
            if self.record.prefill is None:  # else all of the prompt was there: what prefill said counts
                self.record.cached_tokens = usage.cached

    def told(self, answer: bytes) -> bytes:
        """A whole answer as the client gets it."""
        return answer if self.cached is None else with_cached(answer, self.cached)

    def computed(self) -> None:
        """Its prompt is computed, and the KV of it where its answer comes from."""
        self.booking.computed()
        ends = (self.record.prefill, self.record.decode)
        self.epoch.policy.computed(self.prompt, [one for one in ends if one and one in self.epoch.replicas])

    def saw_content(self, at: float) -> None:
        if self.first_content_at is None:
            self.first_content_at = at
            self.record.ttft_s = at - self.record.arrived_at
            self.computed()
        self.last_content_at = at

    def so_far(self) -> tuple[int | None, int]:
        """Its prompt's tokens, by those before it until its engine states them, and those of its answer by now."""
        tokens = self.events.tokens
        prompt = tokens.prompt if tokens else self.epoch.policy.expected_tokens(self.prompt)
        return prompt, tokens.output if tokens else self._counted_output()

    def ended(self, at: float) -> None:
        """Work out the times and the tokens, where nobody stated them as well as can be known."""
        record = self.record
        record.so_far = None
        self.booking.end()
        record.e2e_s = at - record.arrived_at
        if tokens := self.events.tokens:
            self.answered_with(tokens)
        elif self.events.content_events:
            record.output_tokens = self._counted_output()
        if record.prompt_tokens and self.continuation is None and not self.client.media_bytes:
            self.epoch.policy.learn(self.prompt, record.prompt_tokens)
        elif record.prompt_tokens is None and self._left_early():
            record.prompt_tokens = self.epoch.policy.expected_tokens(self.prompt)
        if self.first_content_at is None or self.last_content_at is None or not record.output_tokens:
            return
        later = record.output_tokens / self.client.choices - 1
        if later > 0:
            record.tpot_s = (self.last_content_at - self.first_content_at) / later

    def _counted_output(self) -> int:
        """By the events of a stream: after each choice's first, they have `stream_interval` tokens or more."""
        events, interval = self.events.content_events, self.client.document.get("stream_interval")
        later = max(events - self.client.choices, 0)
        return events + later * (interval - 1) if type(interval) is int and interval > 1 else events

    def _left_early(self) -> bool:
        """Whether its client was gone, or its time up, before an engine that had its prompt stated any tokens."""
        had = bool(self.record.prefill or self.record.decode) and APIS[self.path].generates
        return had and self.record.outcome in LEFT


def request_id(request: web.Request) -> str:
    """The client's own, where it is one that can be passed on, else a new one."""
    said = request.headers.get(REQUEST_ID, "")
    return said if _passes(said) else secrets.token_hex(16)


def leg_headers(request: web.Request, request_id: str) -> dict[str, str]:
    """What both legs carry: the same request id, and no credentials.

    The id is the client's and our own: agents tell requests apart by it, and clients may give one to several.
    """
    own = f"{request_id[:CLIENTS_PART]}-{secrets.token_hex(8)}"
    headers = {REQUEST_ID: own, "Content-Type": "application/json"}
    if _passes(priority := request.headers.get(PRIORITY, "")):
        headers[PRIORITY] = priority
    return headers


def _passes(value: str) -> bool:
    return 0 < len(value) <= HEADER_LIMIT and value.isascii() and value.isprintable()
