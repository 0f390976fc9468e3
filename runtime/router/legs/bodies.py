"""What is posted to the engines of a route: a client's body, as a prefill leg and as a decode leg have it."""

import json
from dataclasses import replace
from typing import Any

from planner.deployment import Codec
from runtime.router.legs.request import ClientRequest, dumped
from runtime.router.legs.transfer import TRANSFER, TRANSFER_WORD

ASK_FOR_IDS = b'"return_token_ids":true'
ASK_FOR_USAGE = b'"stream_options":{"include_usage":true}'


def prefill_body(request: ClientRequest, codec: Codec, *, stream_kv: bool = False) -> bytes:
    """The prefill leg: the same prompt, one token, an order for a ticket that each of the `n` choices will read.

    With `stream_kv` the ticket may be said as soon as the prompt begins to be computed.
    """
    leg = {key: value for key, value in request.document.items() if key not in ("stream_options", "min_tokens")}
    order = _prompt_ids(request) | {"do_remote_decode": True, "codec": codec.value, "readers": request.choices}
    order |= {"stream": True} if stream_kv else {}
    leg |= {"stream": False, "n": 1, "max_tokens": 1, "max_completion_tokens": 1, TRANSFER: order}
    return dumped(leg)


def decode_body(request: ClientRequest, ticket: bytes | None) -> bytes:
    """The decode leg: the client's own bytes, with the ticket and an order for token ids put in at the end.

    Where no ids can be asked for, the usage of a stream is.
    """
    if request.adds_usage and "stream_options" in request.document:
        rest = {word: value for word, value in request.document.items() if word != "stream_options"}
        request = replace(request, body=dumped(rest), document=rest)
    added = [ASK_FOR_USAGE] if request.adds_usage else [] if request.obstacle else [ASK_FOR_IDS]
    if request.prompt_ids:  # vLLM takes them instead of the messages, if they come with the transfer's words
        ticket = json.dumps(_prompt_ids(request) | json.loads(ticket or b"{}")).encode()
    if ticket is not None:
        added.append(TRANSFER_WORD + b":" + ticket)
    if not added:
        return request.body
    opened = request.body.rstrip()[:-1]
    return b",".join([opened, *added] if request.document else [opened + added[0], *added[1:]]) + b"}"


def _prompt_ids(request: ClientRequest) -> dict[str, Any]:
    return {"prompt_token_ids": request.prompt_ids} if request.prompt_ids else {}
