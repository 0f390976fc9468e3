"""The words of KV transfers: between the router and engines, never to or from a client."""

import json
import re
from collections.abc import Mapping
from typing import Any

TRANSFER = "kv_transfer_params"
CACHED = "remote_prefill_cached_tokens"
TICKET_HEADER = "x-thunder-ticket"
"""In an interim answer of an agent; names are in lower case here."""

TRANSFER_WORD = b'"kv_transfer_params"'
TRANSFER_WORDS = frozenset({TRANSFER, "ec_transfer_params"})
EXTRAS = "vllm_xargs"
"""Arguments that vLLM puts beside its own, where these words would stand for them."""
EMPTY_TRANSFER = re.compile(rb',\s*"kv_transfer_params":\s*null')

LOST_KV = b'{"kv_lost":true}'
"""In place of a ticket that should have come: our connector computes such prompts in turns."""


def read_prefill_answer(answer: bytes) -> tuple[bytes | None, int | None]:
    """The ticket, unread, and the prompt's tokens. Raises ValueError when it is not the answer of an engine."""
    document = json.loads(answer)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    ticket, usage = document.get(TRANSFER), document.get("usage")
    prompt_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return json.dumps(ticket).encode() if ticket else None, prompt_tokens if type(prompt_tokens) is int else None


def read_early_ticket(headers: Mapping[str, str]) -> tuple[bytes, int] | None:
    """The ticket that an interim answer says, unread, and how much of the prompt was cached. Raises ValueError."""
    if TICKET_HEADER not in headers:
        return None
    ticket = headers[TICKET_HEADER]
    document = json.loads(ticket)
    cached = document.get(CACHED) if isinstance(document, dict) else None
    if type(cached) is not int:
        raise ValueError("its ticket can't be read")
    return ticket.encode(), cached


def without_transfer(answer: bytes) -> bytes:
    """A JSON answer less its transfer words. Quotes inside JSON strings are escaped: no match there."""
    if TRANSFER_WORD not in answer:
        return answer
    answer = EMPTY_TRANSFER.sub(b"", answer)
    if TRANSFER_WORD not in answer:
        return answer
    document = json.loads(answer)
    if isinstance(document, dict):
        document.pop(TRANSFER, None)
    return json.dumps(document).encode()


def says_transfer(document: Mapping[str, Any]) -> bool:
    """Whether a request may say something of transfers, which are the router's affair."""
    return EXTRAS in document or not TRANSFER_WORDS.isdisjoint(document)


def without_transfer_words(document: dict[str, Any]) -> dict[str, Any]:
    """A request that says nothing of them."""
    kept = {word: value for word, value in document.items() if word not in TRANSFER_WORDS}
    if isinstance(extras := kept.get(EXTRAS), dict):
        kept[EXTRAS] = {word: value for word, value in extras.items() if word not in TRANSFER_WORDS}
    return kept
