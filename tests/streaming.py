"""Streams of a deployment's clients, some of them while something happens to it."""

import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai

PROMPT = "def read_lines(path):"
TOKENS = 300
SAYS: dict[str, Any] = {"model": "tiny-llama", "max_tokens": TOKENS, "temperature": 0, "stream": True}
WITHIN_S = 240


class Streamed(NamedTuple):
    """All that a client could tell of a stream: its text, how many ids it had, finish reasons, and usage."""

    text: str
    ids: int
    finish: list[str]
    usage: tuple[int, int, int, int] | None


def streams(endpoint: str, act: Callable[[], object]) -> list[Streamed]:
    """Four at once, two chats and two completions, and `act` in the midst of them."""
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for chat in (True, False, False, True):  # the routes' rotation gives each decode replica one of either
            begun = threading.Event()
            asked.append(pool.submit(_stream, endpoint, chat, begun))
            assert begun.wait(timeout=120)
        act()
        return [answer.result(timeout=WITHIN_S) for answer in asked]


def legs_broken_off(endpoint: str, replica: str) -> float:
    """Decode legs on a replica that failed, as the router counts them."""
    with urllib.request.urlopen(endpoint.replace("/v1", "/metrics")) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'thunder_leg_failures_total{{leg="decode",replica="{replica}"}} '
    return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)


def _stream(endpoint: str, chat: bool, begun: threading.Event) -> Streamed:
    with openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0, timeout=WITHIN_S) as client:
        options: dict[str, Any] = {"stream_options": {"include_usage": True}, "extra_body": {"ignore_eos": True}}
        if chat:
            message = {"role": "user", "content": PROMPT}
            chunks = client.chat.completions.create(messages=[message], **SAYS, **options)
        else:
            chunks = client.completions.create(prompt=PROMPT, **SAYS, **options)
        texts, ids, finish, usage = [], set(), [], None
        for chunk in chunks:
            begun.set()
            ids.add(chunk.id)
            usage = _numbers(chunk.usage) if chunk.usage else usage
            for choice in chunk.choices:
                texts.append((choice.delta.content if chat else choice.text) or "")
                finish += [choice.finish_reason] if choice.finish_reason else []
        return Streamed("".join(texts), len(ids), finish, usage)


def _numbers(usage: Any) -> tuple[int, int, int, int]:
    """What a client is charged by. vLLM's chats have details beside that its completions lack; all of them are 0."""
    details = usage.prompt_tokens_details.model_dump()
    assert not any(count for name, count in details.items() if name != "cached_tokens")
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, details["cached_tokens"]
