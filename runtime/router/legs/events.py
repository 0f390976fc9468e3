"""A stream of server-sent events on its way from engine to client: whole events, counted, transfer words taken out."""

import re

from runtime.router.legs.transcript import Transcript
from runtime.router.legs.transfer import TRANSFER_WORD, without_transfer
from runtime.router.legs.usage import USAGE_WORD, Usage, read_usage, with_cached

DATA = b"data: "
DONE = b"data: [DONE]"
ERROR = b'data: {"error":'
SERVER_ERROR = re.compile(rb'"code":\s*5\d\d\b')
CACHED_WORD = b'"cached_tokens":'
NO_DELTA = b'"delta":{}'
IDS_ALONE = re.compile(rb'data: \{[^\n]*"delta":\{\},"logprobs":null,"finish_reason":null[^\n]*\n\n')
"""What vLLM writes where a parser (reasoning, tools) held a token back, only because it was asked for token ids."""
BLANK_LINE = re.compile(rb"(\n\n|\r\n\r\n)")


class EventStream:
    """Passes events on as they come: engines write whole ones, and the beginning of one waits for its end.

    `content_events` counts the events that carry tokens and `usage` is the last that was stated. `done` says whether
    the stream ended as it should, `says_error` whether the engine itself reported an error in it, and `breaks_down`
    whether that is its own fault. `spent` are the tokens of the answer that came before this stream. A `transcript`
    takes the token ids out, and keeps them. `cached`, where it is not None, is said in place of the engine's own count.
    `drops_usage` leaves out the event that states nothing but the usage: the client did not ask for it.
    """

    def __init__(self, transcript: Transcript | None = None, *, drops_usage: bool = False) -> None:
        self.transcript = transcript
        self.drops_usage = drops_usage
        self.spent = 0
        self.cached: int | None = None
        self.content_events = 0
        self.usage: Usage | None = None
        self.done = False
        self.says_error = False
        self.breaks_down = False
        self._rest = b""
        self._started = False

    @property
    def tokens(self) -> Usage | None:
        """The tokens of the whole answer: as stated, else counted, if its engine stated ids."""
        counted = self.transcript.usage if self.transcript is not None else None
        return self.usage or (counted and Usage(counted.prompt - self.spent, counted.output + self.spent, self.cached))

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on now."""
        data = self._rest + chunk if self._rest else chunk
        lf, crlf = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
        if lf < 0 and crlf < 0:
            self._rest = data
            return b""
        end = lf + 2 if lf > crlf else crlf + 4
        whole, self._rest = data[:end], data[end:]
        if self.transcript is not None:
            whole = self.transcript.take(whole)
        events = whole.count(b"\n\n") + whole.count(b"\r\n\r\n")
        self.content_events += events - self._without_tokens(whole)
        if NO_DELTA in whole and self.transcript is not None:
            whole = IDS_ALONE.sub(b"", whole)
        passed = self._passed(whole)
        return passed if self.cached is None or CACHED_WORD not in passed else with_cached(passed, self.cached)

    def end(self) -> bytes:
        """What is left at the stream's end: nothing, but for a last line that no blank one follows."""
        if self._rest.rstrip() != DONE:
            return b""
        self.done = True
        return DONE + b"\n\n"

    def _without_tokens(self, events: bytes) -> int:
        """How many of these whole events bring no token: the role, the usage, an error, the end."""
        count = 0
        if DONE in events and events.rstrip().endswith(DONE):
            self.done = True
            count += 1
        if ERROR in events:
            self.says_error = True
            self.breaks_down = SERVER_ERROR.search(events, events.index(ERROR)) is not None
            count += 1
        if not self._started:
            self._started = True
            count += _is_role(BLANK_LINE.split(events, maxsplit=1)[0])
        if USAGE_WORD in events:
            for event in BLANK_LINE.split(events):
                if USAGE_WORD in event and (usage := read_usage(event)):
                    self.usage = usage
                    count += _is_usage_alone(event)
        return count

    def _passed(self, events: bytes) -> bytes:
        if self.drops_usage and USAGE_WORD in events:
            pieces = BLANK_LINE.split(events)
            pairs = zip(pieces[::2], pieces[1::2], strict=False)
            events = b"".join(event + end for event, end in pairs if not _is_usage_alone(event))
        if TRANSFER_WORD not in events:
            return events
        return b"".join(_cleaned_event(event) for event in BLANK_LINE.split(events))


def _is_role(event: bytes) -> bool:
    dense = event.replace(b" ", b"")
    return b'"role":' in dense and (b'"content":""' in dense or b'"content":null' in dense)


def _is_usage_alone(event: bytes) -> bool:
    return USAGE_WORD in event and b'"choices":[]' in event.replace(b" ", b"")


def _cleaned_event(event: bytes) -> bytes:
    if not event.startswith(DATA) or TRANSFER_WORD not in event:
        return event
    return DATA + without_transfer(event.removeprefix(DATA))
