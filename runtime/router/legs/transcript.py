"""What one leg of a stream said, kept so that another could go on with it.

Nothing is parsed as it passes. About 7 bytes a token are kept, and the last events for the end of the text.
"""

import json
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from runtime.router.legs.usage import Usage

PROMPT_IDS = b'"prompt_token_ids":['
OUTPUT_IDS = b'"token_ids":['
EVENT = b"data: "
LAST_FEEDS = 8
LAST_BYTES = 4096
"""Of each feed, so that a client that reads slowly costs no more."""


class Transcript:
    """The ids of a leg's prompt and output, as JSON text, and its last events, less the ids.

    `head` is what an earlier leg's events stated (id, created), where there was one.
    """

    def __init__(self, head: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._head = head
        self.lists = 0
        self._prompt = b""
        self._output = bytearray()
        self._tail: deque[bytes] = deque(maxlen=LAST_FEEDS)

    def take(self, events: bytes) -> bytes:
        """Whole events as the client gets them: without the ids, which it did not ask for."""
        if not self._tail:
            events = self._without_prompt(events)
        first, *rest = events.split(OUTPUT_IDS)
        if rest:
            pieces = [first]
            for part in rest:
                ids, _, after = part.partition(b"]")
                self._output += ids + b"," if ids else b""
                pieces.append(after)
            self.lists += len(rest)
            events = b'"token_ids":null'.join(pieces)
        self._tail.append(events if len(events) <= LAST_BYTES else events[events.find(b"\n\n", -LAST_BYTES) :])
        return events

    @property
    def is_empty(self) -> bool:
        return not self._tail

    @property
    def usage(self) -> Usage | None:
        """The tokens of this leg, counted; None where its engine stated none."""
        return Usage(self._prompt.count(b",") + 1, self._output.count(b",")) if self._prompt else None

    @property
    def prompt(self) -> list[int]:
        return _ids(self._prompt)

    @property
    def output(self) -> list[int]:
        return _ids(self._output)

    def last_documents(self) -> list[dict[str, Any]]:
        """The last events, the newest last."""
        lines = [line for feed in self._tail for line in feed.split(b"\n")]
        found = [json.loads(line.removeprefix(EVENT)) for line in lines if line.startswith(EVENT + b"{")]
        return [{**document, **self._head} for document in found if "choices" in document]

    def _without_prompt(self, events: bytes) -> bytes:
        before, found, rest = events.partition(PROMPT_IDS)
        if not found:
            return events
        self._prompt, _, after = rest.partition(b"]")
        return before + b'"prompt_token_ids":null' + after


def _ids(listed: bytes | bytearray) -> list[int]:
    return [int(number) for number in listed.split(b",") if number.strip()]
