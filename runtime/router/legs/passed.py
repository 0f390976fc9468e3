"""A stream of the Responses or the Messages API on its way to the client: whole events with names, and their usage.

Their last event has a name too, and no `[DONE]` follows it.
"""

import json
import re
from dataclasses import replace

from runtime.router.legs.events import EventStream
from runtime.router.legs.transfer import TRANSFER, TRANSFER_WORD
from runtime.router.legs.usage import Usage, passed_usage

CONTENT = re.compile(rb"^event: (?:content_block_delta|response\.\S+\.delta)$", re.MULTILINE)
LAST = re.compile(rb"^event: (?:message_stop|response\.(?:completed|incomplete|failed))$", re.MULTILINE)
ERROR = re.compile(rb"^event: (?:error|response\.failed)$", re.MULTILINE)
USAGE_WORD = b'"usage":{'
EVENT_END = b"\n\n"
DATA = b"data: "


class PassedEvents(EventStream):
    """Passes events on as they come, and keeps none: nothing of it can be taken up by another replica."""

    @property
    def tokens(self) -> Usage | None:
        """As stated. A message's first event states its prompt, its last but one its output: counted before that."""
        return self.usage and replace(self.usage, output=self.usage.output or self.content_events)

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to pass on now."""
        data = self._rest + chunk
        end = data.rfind(EVENT_END) + len(EVENT_END)
        if end < len(EVENT_END):
            self._rest = data
            return b""
        whole, self._rest = data[:end], data[end:]
        self.content_events += len(CONTENT.findall(whole))
        self.says_error = self.says_error or ERROR.search(whole) is not None
        self.done = self.done or self.says_error or LAST.search(whole) is not None
        if USAGE_WORD in whole or TRANSFER_WORD in whole:
            whole = EVENT_END.join([self._looked_at(event) for event in whole.split(EVENT_END)])
        return whole

    def end(self) -> bytes:
        """Half an event is of no use to anybody."""
        return b""

    def _looked_at(self, event: bytes) -> bytes:
        """An event less its transfer words, its usage noted."""
        head, found, data = event.partition(DATA)
        if not found or (USAGE_WORD not in data and TRANSFER_WORD not in data):
            return event
        try:
            document = json.loads(data)
        except ValueError:
            return event
        if not isinstance(document, dict):
            return event
        inner = (document.get(word) for word in ("response", "message"))
        parts = [document, *(part for part in inner if isinstance(part, dict))]
        for part in parts:
            self.usage = passed_usage(part) or self.usage
        if TRANSFER_WORD not in data:
            return event
        for part in parts:
            part.pop(TRANSFER, None)
        return head + DATA + json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
