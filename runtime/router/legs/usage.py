"""The tokens that engines state, read out of their answers without parsing them."""

import json
import re
from dataclasses import dataclass
from typing import Any

PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
OUTPUT_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
CACHED_TOKENS = re.compile(rb'"cached_tokens":\s*(\d+)')
USAGE_WORD = b'"usage":'


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer states; `cached` are those of the prompt that its engine had computed before."""

    prompt: int
    output: int
    cached: int | None = None


def read_usage(answer: bytes) -> Usage | None:
    """The usage of an answer or an event, wherever it stands. In JSON strings quotes are escaped: no match there."""
    start = answer.rfind(USAGE_WORD)
    if start < 0:
        return None
    prompt, output = PROMPT_TOKENS.search(answer, start), OUTPUT_TOKENS.search(answer, start)
    return Usage(int(prompt[1]), int(output[1]), read_cached(answer[start:])) if prompt and output else None


def read_passed_usage(answer: bytes) -> Usage | None:
    """The usage of a whole answer that no other replica had a part in."""
    try:
        document = json.loads(answer) if b'"output_tokens"' in answer else None
    except ValueError:
        return None
    return passed_usage(document) if isinstance(document, dict) else None


def passed_usage(document: dict[str, Any]) -> Usage | None:
    """The usage of a Responses or a Messages answer; the latter's prompt tokens are stated less those in the cache."""
    usage = document.get("usage")
    if not isinstance(usage, dict) or (prompt := _count(usage.get("input_tokens"))) is None:
        return None
    read, written = (_count(usage.get(f"cache_{kind}_input_tokens")) for kind in ("read", "creation"))
    details = usage.get("input_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) and details else read
    return Usage(prompt + (read or 0) + (written or 0), _count(usage.get("output_tokens")) or 0, cached)


def _count(value: object) -> int | None:
    """What is no whole number was not stated."""
    return value if type(value) is int else None


def with_cached(answer: bytes, cached: int) -> bytes:
    """An answer or an event with another number of cached tokens: of a prompt whose KV came, all count as cached."""
    return CACHED_TOKENS.sub(b'"cached_tokens":%d' % cached, answer)


def read_cached(answer: bytes) -> int | None:
    """The prompt's tokens that the engine had computed before; None where it does not say."""
    found = CACHED_TOKENS.search(answer)
    return int(found[1]) if found else None
