"""What a client asks, as far as the router must know. Its body is parsed once; what vLLM checks is left to vLLM."""

import json
from dataclasses import dataclass
from typing import Any

from runtime.router.legs.media import media_bytes
from runtime.router.legs.replayable import obstacle
from runtime.router.legs.transfer import says_transfer, without_transfer_words
from runtime.router.surface.apis import CHAT, RESPONSES, Api

MOST_CHOICES = 16_384
"""vLLM's own limit of `n`. What is beyond it is left to one engine to refuse."""
MOST_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A client's completion request. `needs_local` marks what external KV is no use to.

    `media_bytes` of its body are no text. `obstacle` says why its stream could not go on with another engine.
    `prompt_ids` stand for the messages of a chat. `adds_usage`: its stream is asked for a usage that the client does
    not read, as nothing else states its tokens.
    """

    body: bytes
    document: dict[str, Any]
    streamed: bool
    needs_local: bool
    choices: int
    prompts: int = 1
    obstacle: str = "it is not a stream"
    prompt_ids: list[int] | None = None
    adds_usage: bool = False
    media_bytes: int = 0

    @property
    def model(self) -> str:
        """Its name, where one is given."""
        named = self.document.get("model")
        return named if isinstance(named, str) else ""

    @property
    def sequences(self) -> int:
        """What it is to an engine, which runs each choice of each prompt like a request of its own."""
        return self.choices * self.prompts

    @property
    def text_bytes(self) -> int:
        return max(len(self.body) - self.media_bytes, 0)


class MalformedRequest(Exception):
    """A body that no engine could answer: no JSON object, numbers beyond 64 bits, a state that nobody keeps."""


def read_request(body: bytes, api: Api = CHAT) -> ClientRequest:
    """Parse a client's body. Raises MalformedRequest; what vLLM checks is left to vLLM."""
    document = _document(body)
    if says_transfer(document):
        document = without_transfer_words(document)
        body = dumped(document)
    choices, streamed = document.get("n"), document.get("stream") is True
    if not api.splits:
        _check_stateless(document, api)
        why = f"a stream of {api.path} can't be replayed" if streamed else "it is not a stream"
        return ClientRequest(body, document, streamed, True, choices=1, obstacle=why, media_bytes=media_bytes(document))
    media = media_bytes(document)
    why = obstacle(document) if streamed else "it is not a stream"
    return ClientRequest(
        body,
        document,
        streamed=streamed,
        needs_local=media > 0 or _needs_local(document),
        choices=choices if type(choices) is int and 0 < choices <= MOST_CHOICES else 1,
        prompts=_prompts(document),
        obstacle=why,
        adds_usage=streamed and bool(why) and _lacks_usage(document),
        media_bytes=media,
    )


def dumped(document: dict[str, Any]) -> bytes:
    """As JSON. What was just not too deep to be read may be too deep to be written, a few calls further down."""
    try:
        return json.dumps(document).encode()
    except RecursionError as error:
        raise MalformedRequest(str(error)) from error


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


def _lacks_usage(document: dict[str, Any]) -> bool:
    """Whether a stream would not state its usage; what vLLM refuses is left as it is."""
    options = document.get("stream_options")
    return options is None or (isinstance(options, dict) and options.get("include_usage") in (None, False))


def _prompts(document: dict[str, Any]) -> int:
    """How many a completion has: texts and lists of ids count one by one, a list of ids alone is one."""
    prompt, embeds = document.get("prompt"), document.get("prompt_embeds")
    texts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 0
    return max(texts + (len(embeds) if isinstance(embeds, list) else 0), 1)


def _needs_local(document: dict[str, Any]) -> bool:
    """Prompt logprobs need the whole prompt computed where they are asked for; a ticket is for one prompt of tokens."""
    prompt = document.get("prompt")
    several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
    wanted = (document.get(key) for key in ("echo", "prompt_logprobs", "use_beam_search", "prompt_embeds"))
    return several or any(value is not None and value is not False for value in wanted)
