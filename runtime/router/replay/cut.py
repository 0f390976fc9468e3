"""A stream that broke off, as another engine takes it up: what was said, where to cut it, and the request from there.

The new engine gets prompt and emitted tokens as its prompt. Its text joins only where the old one's was whole: a token
in the middle of a character has no text yet, and with stop strings the last characters are held back. So the emitted
tokens are read again, by an engine: tokens without text are left out, to be generated once more, and held text is sent.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from runtime.router.legs.request import ClientRequest
from runtime.router.legs.transcript import Transcript

CONTEXT_TOKENS = 8
MOST_DROPPED = 16
"""Tokens given up at most to find a clean cut; a character has 4 bytes, and a long stop string as many tokens."""
COMPLETION_TOKENS = 16
"""vLLM's default limit for completions. A chat's is its model's."""
LIMITS = ("max_tokens", "max_completion_tokens")
HALF_A_CHARACTER = "\ufffd"

TextOf = Callable[[Sequence[int]], Awaitable[str]]


class CannotReplay(Exception):
    """Why a stream that broke off can't go on elsewhere."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a leg that goes on must know: the `head` (id, created) of the answer, and the tokens it already has."""

    head: dict[str, Any]
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the answer goes on: after `output`, with `held` still to be sent. `finished`: only its end is missing."""

    prompt: list[int]
    output: list[int]
    held: str
    last: dict[str, Any]
    finished: bool = False


async def cut(transcript: Transcript, contents: int, document: dict[str, Any], text_of: TextOf) -> Cut:
    """Find where a stream of `contents` events with tokens can go on; `text_of` asks an engine. Raises CannotReplay."""
    with readable():
        documents, prompt, output = transcript.last_documents(), transcript.prompt, transcript.output
        check_plain(documents)
    if not prompt or transcript.lists != contents or not documents:
        raise CannotReplay("its engine stated no token ids")
    if any(choice.get("finish_reason") for document in documents for choice in document["choices"]):
        return Cut(prompt, output, "", documents[-1], finished=True)
    before = prompt[-CONTEXT_TOKENS:]
    prefix = await text_of(before) if output else ""
    seam = _Seam(_stops(document), bool(document.get("include_stop_str_in_output")), _last_text(documents))
    for kept in _shorter(output):
        text = (await text_of(before + kept)).removeprefix(prefix) if kept else ""
        held = seam.held(text)
        if held is not None:
            return Cut(prompt, kept, held, documents[-1])
    raise CannotReplay("its text can't be cut there")


def continued(client: ClientRequest, at: Cut, default_max_tokens: int | None) -> ClientRequest:
    """The request that goes on from a cut, itself one that can be cut. Raises CannotReplay.

    `default_max_tokens`: what engines give a chat that states no limit; 0: as many as fit. None: nobody knows.
    """
    document = {key: value for key, value in client.document.items() if not key.startswith("trunc")}
    ids = at.prompt + at.output
    if "messages" in document:
        client = replace(client, prompt_ids=ids)
        if all(document.get(limit) is None for limit in LIMITS):
            if default_max_tokens is None:
                raise CannotReplay("it states no max_tokens, and nobody said what its engine makes of that")
            if default_max_tokens:
                document["max_tokens"] = default_max_tokens
    else:
        document |= {"prompt": ids, "max_tokens": document.get("max_tokens") or COMPLETION_TOKENS}
    for limit in LIMITS:
        if document.get(limit) is not None:
            document[limit] -= len(at.output)
            if document[limit] < 1:
                raise CannotReplay("all its tokens were said")
    if document.get("min_tokens"):
        document["min_tokens"] = max(document["min_tokens"] - len(at.output), 0)
    return replace(client, body=json.dumps(document).encode(), document=document)


@contextmanager
def readable() -> Iterator[None]:
    """Events that are not what engines write can't be replayed, whatever they are."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotReplay(f"its events can't be read: {error!r}") from error


def check_plain(documents: Sequence[dict[str, Any]]) -> None:
    """A parser's output (reasoning, tool calls) hangs on its state, which no replay has. Raises CannotReplay."""
    deltas = [choice.get("delta", {}) for document in documents for choice in document["choices"]]
    if parsed := {key for delta in deltas for key, value in delta.items() if value} - {"role", "content"}:
        raise CannotReplay(f"{', '.join(sorted(parsed))} can't be replayed")


def text(choice: dict[str, Any]) -> str:
    """What a choice of a completion's or a chat's event says."""
    return choice.get("text") or choice.get("delta", {}).get("content") or ""


@dataclass(slots=True)
class _Seam:
    """Tries cuts from the end backwards. `last` is the last text that came, `sent` all that did, once it is known."""

    stops: list[str]
    keeps_stop: bool
    last: str
    sent: str | None = None

    def held(self, text: str) -> str | None:
        """The text still to be sent when the tokens end with `text`; None when they can't end there."""
        if text.endswith(HALF_A_CHARACTER):
            return None
        if self.sent is None:
            sent = text[: max(len(text) - self._lag, 0)]
            if not sent.endswith(self.last):
                return None
            self.sent = sent
        if len(text) < len(self.sent) or self._begins_a_stop(text):
            return None
        return text[len(self.sent) :]

    @property
    def _lag(self) -> int:
        """Characters that vLLM holds back: any might begin a stop string that is to be left out."""
        return 0 if self.keeps_stop else max((len(stop) - 1 for stop in self.stops), default=0)

    def _begins_a_stop(self, text: str) -> bool:
        return any(text.endswith(stop[:count]) for stop in self.stops for count in range(1, len(stop)))


def _shorter(output: list[int]) -> Iterator[list[int]]:
    for dropped in range(min(len(output), MOST_DROPPED) + 1):
        yield output[: len(output) - dropped]


def _stops(document: dict[str, Any]) -> list[str]:
    stop = document.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def _last_text(documents: Sequence[dict[str, Any]]) -> str:
    said = [text(choice) for document in documents for choice in document["choices"]]
    return next((words for words in reversed(said) if words), "")
