"""What is sent to the engines of a route and what is taken out of their answers. Pure: bytes in, bytes out.

As little JSON is parsed as will do: the client's body once, the prefill answer once, and nothing of a stream but its
first event and those that carry usage or transfer words.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from planner.deployment import Codec
from runtime.router.apis import CHAT, RESPONSES, Api
from runtime.router.replay_rules import obstacle

TRANSFER = "kv_transfer_params"
CACHED = "remote_prefill_cached_tokens"
TICKET_HEADER = "x-thunder-ticket"
"""In an interim answer of an agent; names are in lower case here."""

TRANSFER_WORD = b'"kv_transfer_params"'
TRANSFER_WORDS = frozenset({TRANSFER, "ec_transfer_params"})
EXTRAS = "vllm_xargs"
"""Arguments that vLLM puts beside its own, where these words would stand for them."""
ASK_FOR_IDS = b'"return_token_ids":true'
ASK_FOR_USAGE = b'"stream_options":{"include_usage":true}'
EMPTY_TRANSFER = re.compile(rb',\s*"kv_transfer_params":\s*null')
PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
OUTPUT_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
CACHED_TOKENS = re.compile(rb'"cached_tokens":\s*(\d+)')
USAGE_WORD = b'"usage":'
MOST_CHOICES = 16_384
"""vLLM's own limit of `n`. What is beyond it is left to one engine to refuse."""
MOST_NUMBER = 2**63 - 1

LOST_KV = b'{"kv_lost":true}'
"""In place of a ticket that should have come: our connector computes such prompts in turns."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A client's completion request. `needs_local` marks what external KV is no use to.

    `obstacle` says why its stream could not go on with another engine. `prompt_ids` stand for the messages of a chat.
    `adds_usage`: its stream is asked for a usage that the client does not read, as nothing else states its tokens.
    """

    body: bytes
    document: dict[str, Any]
    streamed: bool
    needs_local: bool
    choices: int
    obstacle: str = "it is not a stream"
    prompt_ids: list[int] | None = None
    adds_usage: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer states; `cached` are those of the prompt that its engine had computed before."""

    prompt: int
    output: int
    cached: int | None = None


class MalformedRequest(Exception):
    """A body that no engine could answer: no JSON object, numbers beyond 64 bits, a state that nobody keeps."""


def read_request(body: bytes, api: Api = CHAT) -> ClientRequest:
    """Parse a client's body. Raises MalformedRequest; what vLLM checks is left to vLLM."""
    document = _document(body)
    if EXTRAS in document or not TRANSFER_WORDS.isdisjoint(document):
        document = _without_transfer_words(document)
        body = _dumped(document)
    choices, streamed = document.get("n"), document.get("stream") is True
    if not api.splits:
        _check_stateless(document, api)
        why = f"a stream of {api.path} can't be replayed" if streamed else "it is not a stream"
        return ClientRequest(body, document, streamed, needs_local=True, choices=1, obstacle=why)
    why = obstacle(document) if streamed else "it is not a stream"
    return ClientRequest(
        body,
        document,
        streamed=streamed,
        needs_local=_needs_local(document),
        choices=choices if type(choices) is int and 0 < choices <= MOST_CHOICES else 1,
        obstacle=why,
        adds_usage=streamed and bool(why) and _lacks_usage(document),
    )


def prefill_body(request: ClientRequest, codec: Codec, *, stream_kv: bool = False) -> bytes:
    """The prefill leg: the same prompt, one token, an order for a ticket that each of the `n` choices will read.

    With `stream_kv` the ticket may be said as soon as the prompt begins to be computed.
    """
    leg = {key: value for key, value in request.document.items() if key not in ("stream_options", "min_tokens")}
    order = _prompt_ids(request) | {"do_remote_decode": True, "codec": codec.value, "readers": request.choices}
    order |= {"stream": True} if stream_kv else {}
    leg |= {"stream": False, "n": 1, "max_tokens": 1, "max_completion_tokens": 1, TRANSFER: order}
    return _dumped(leg)


def decode_body(request: ClientRequest, ticket: bytes | None) -> bytes:
    """The decode leg: the client's own bytes, with the ticket and an order for token ids put in at the end.

    Where no ids can be asked for, the usage of a stream is.
    """
    if request.adds_usage and "stream_options" in request.document:
        rest = {word: value for word, value in request.document.items() if word != "stream_options"}
        request = replace(request, body=_dumped(rest), document=rest)
    added = [ASK_FOR_USAGE] if request.adds_usage else [] if request.obstacle else [ASK_FOR_IDS]
    if request.prompt_ids:  # vLLM takes them instead of the messages, if they come with the transfer's words
        ticket = json.dumps(_prompt_ids(request) | json.loads(ticket or b"{}")).encode()
    if ticket is not None:
        added.append(TRANSFER_WORD + b":" + ticket)
    if not added:
        return request.body
    opened = request.body.rstrip()[:-1]
    return b",".join([opened, *added] if request.document else [opened + added[0], *added[1:]]) + b"}"


def read_prefill_answer(answer: bytes) -> tuple[bytes | None, int | None]:
    """The ticket, unread, and the prompt's tokens. Raises ValueError when it is not the answer of an engine."""
    document = json.loads(answer)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    ticket, usage = document.get(TRANSFER), document.get("usage")
    prompt_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return json.dumps(ticket).encode() if ticket else None, prompt_tokens


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
    if not isinstance(usage, dict) or type(prompt := usage.get("input_tokens")) is not int:
        return None
    read, written = (usage.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation"))
    details = usage.get("input_tokens_details") or {"cached_tokens": usage.get("cache_read_input_tokens")}
    return Usage(prompt + read + written, usage.get("output_tokens") or 0, details.get("cached_tokens"))


def with_cached(answer: bytes, cached: int) -> bytes:
    """An answer or an event with another number of cached tokens: of a prompt whose KV came, all count as cached."""
    return CACHED_TOKENS.sub(b'"cached_tokens":%d' % cached, answer)


def read_cached(answer: bytes) -> int | None:
    """The prompt's tokens that the engine had computed before; None where it does not say."""
    found = CACHED_TOKENS.search(answer)
    return int(found[1]) if found else None


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(str(error)) from error
    if not isinstance(document, dict):
        raise MalformedRequest("it is not a JSON object")
    for word, value in document.items():
        if type(value) is int and not -MOST_NUMBER - 1 <= value <= MOST_NUMBER:
            raise MalformedRequest(f"{word} is beyond 64 bits")
    return document


def _dumped(document: dict[str, Any]) -> bytes:
    """As JSON. What was just not too deep to be read may be too deep to be written, a few calls further down."""
    try:
        return json.dumps(document).encode()
    except RecursionError as error:
        raise MalformedRequest(str(error)) from error


def _without_transfer_words(document: dict[str, Any]) -> dict[str, Any]:
    """A request that says nothing of transfers, which are the router's affair."""
    kept = {word: value for word, value in document.items() if word not in TRANSFER_WORDS}
    if isinstance(extras := kept.get(EXTRAS), dict):
        kept[EXTRAS] = {word: value for word, value in extras.items() if word not in TRANSFER_WORDS}
    return kept


def _check_stateless(document: dict[str, Any], api: Api) -> None:
    """Responses that an engine keeps are lost with it, and no other one knows of them: none is relied on."""
    if api is not RESPONSES:
        return
    if document.get("previous_response_id") is not None:
        raise MalformedRequest(
            "previous_response_id names a response, and none is kept: send the conversation as input"
        )
    if document.get("background") not in (None, False):
        raise MalformedRequest("background responses are not kept: ask without, streamed or not")


def _prompt_ids(request: ClientRequest) -> dict[str, Any]:
    return {"prompt_token_ids": request.prompt_ids} if request.prompt_ids else {}


def _lacks_usage(document: dict[str, Any]) -> bool:
    """Whether a stream would not state its usage; what vLLM refuses is left as it is."""
    options = document.get("stream_options")
    return options is None or (isinstance(options, dict) and options.get("include_usage") in (None, False))


def _needs_local(document: dict[str, Any]) -> bool:
    """Prompt logprobs need the whole prompt computed where they are asked for; a ticket is for one prompt."""
    prompt = document.get("prompt")
    several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
    wanted = (document.get(key) for key in ("echo", "prompt_logprobs", "use_beam_search"))
    return several or any(value is not None and value is not False for value in wanted)
