"""What OpenAI's API promises, asked of real engines by the official client: of a router and of one engine, both alike.

Each check takes a client of the router and one of an engine that the router knows, asked directly. Prompts are shorter
than a group of 64 tokens where both must say the same: no KV of these crosses, so that no codec changes a token.
Engines are to have what `engine_client.py` starts them with.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import openai
import pytest

from tests import real_surface
from tests.engine_client import others_requests, root_of
from tests.operating import until

MODEL = "tiny-llama"
BEGINS = "<|start|>"
PROMPT = "def read_lines(path):"
LONG = "total = add(total, 1)\n" * 40
GREEDY = {"model": MODEL, "prompt": PROMPT, "temperature": 0, "max_tokens": 24, "extra_body": {"ignore_eos": True}}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
VERDICT = {
    "type": "object",
    "properties": {"verdict": {"enum": ["right", "wrong"]}, "sure": {"type": "boolean"}},
    "required": ["verdict", "sure"],
    "additionalProperties": False,
}
"""Few words fit it, so that a model that knows none of this comes to an end."""
TOOL = {"type": "function", "function": {"name": "judge", "parameters": VERDICT}}
NEARLY = 0.02
"""Nats by which log-probabilities of the same may differ: engines compute in half precision, in batches of any size."""

Client = openai.OpenAI


def tools_are_called(router: Client, engine: Client) -> None:
    """By the name that is asked for, or because one must be, whole and streamed; and what a tool said is read."""
    named = {"type": "function", "function": {"name": "judge"}}
    once = {**CHAT, "tools": [TOOL], "parallel_tool_calls": False, "max_tokens": 80}
    for tool_choice in (named, "required"):
        asked = {**once, "tool_choice": tool_choice}
        [call], [same] = (
            client.chat.completions.create(**asked).choices[0].message.tool_calls for client in (router, engine)
        )
        choices = _choices(router.chat.completions.create(**asked, stream=True))
        pieces = [piece.function for choice in choices for piece in choice.delta.tool_calls or []]
        said = "".join(piece.arguments or "" for piece in pieces)
        assert [piece.name for piece in pieces if piece.name] == [call.function.name] == ["judge"]
        assert _verdict(said) == _verdict(call.function.arguments)
        assert call.function == same.function
    calls = {"role": "assistant", "content": "", "tool_calls": [call.model_dump()]}
    heard = {"role": "tool", "tool_call_id": call.id, "content": "it was right"}
    later = {**once, "messages": [*CHAT["messages"], calls, heard], "max_tokens": 6}
    for client in (router, engine):
        for tool_choice in ("none", "auto"):
            message = client.chat.completions.create(**later, tool_choice=tool_choice).choices[0].message
            assert (message.tool_calls or [], bool(message.content)) == ([], True)
        with pytest.raises(openai.BadRequestError, match="tool_choice"):
            client.chat.completions.create(**CHAT, tool_choice=named)


def answers_fit_a_schema(router: Client, engine: Client) -> None:
    """`response_format`, and in completions a choice of words; what is no schema is the client's mistake."""
    schema = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": VERDICT}}
    asked = {**CHAT, "response_format": schema, "max_tokens": 60}
    whole = router.chat.completions.create(**asked).choices[0]
    streamed = _choices(router.chat.completions.create(**asked, stream=True))
    assert _verdict(whole.message.content)
    assert whole.finish_reason == "stop"
    assert "".join(choice.delta.content or "" for choice in streamed) == whole.message.content
    assert engine.chat.completions.create(**asked).choices[0].message.content == whole.message.content
    words = {"structured_outputs": {"choice": ["kitchen", "hall"]}}
    chosen = [_text(client, extra_body=words) for client in (router, engine)]
    assert chosen[0] in words["structured_outputs"]["choice"]
    assert chosen[0] == chosen[1]
    wrong = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": {"type": "nothing"}}}
    for client in (router, engine):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**{**asked, "response_format": wrong})


def logprobs_are_the_models(router: Client, engine: Client) -> None:
    """Of the tokens said and of the likeliest, in chats and completions; of a prompt too, where it is echoed."""
    asked = {**CHAT, "max_tokens": 6, "logprobs": True, "top_logprobs": 3, "extra_body": {"ignore_eos": True}}
    whole = router.chat.completions.create(**asked).choices[0]
    said = whole.logprobs.content
    streamed = [choice.logprobs for choice in _choices(router.chat.completions.create(**asked, stream=True))]
    again = [entry for logprobs in streamed if logprobs for entry in logprobs.content]
    direct = engine.chat.completions.create(**asked).choices[0].logprobs.content
    assert [len(entry.top_logprobs) for entry in said] == [3] * 6
    assert bytes(byte for entry in said for byte in entry.bytes).decode() == whole.message.content
    assert all(entry.token == entry.top_logprobs[0].token for entry in said), "greedy"
    for other in (again, direct):
        assert [entry.token for entry in other] == [entry.token for entry in said]
        assert [entry.logprob for entry in other] == pytest.approx([entry.logprob for entry in said], abs=NEARLY)
    for prompt, echo in ((PROMPT, False), (PROMPT, True), (LONG, True)):
        words = {**GREEDY, "prompt": prompt, "echo": echo, "logprobs": 2, "max_tokens": 4}
        one, other = (client.completions.create(**words).choices[0] for client in (router, engine))
        assert "".join(one.logprobs.tokens).removeprefix(BEGINS) == one.text
        assert one.text.startswith(prompt) is echo
        assert (one.logprobs.token_logprobs[0] is None) is echo
        assert one.logprobs.tokens == other.logprobs.tokens
        assert one.logprobs.text_offset == other.logprobs.text_offset
        ours, theirs = (choice.logprobs.token_logprobs[echo:] for choice in (one, other))
        assert ours == pytest.approx(theirs, abs=NEARLY)


def a_seed_repeats_what_was_drawn(router: Client, engine: Client) -> None:
    drawn = {"temperature": 1.0, "max_tokens": 12}
    once = _text(router, **drawn, seed=7)
    assert _text(router, **drawn, seed=7) == once
    assert _streamed(router, **drawn, seed=7) == [once]
    assert _text(engine, **drawn, seed=7) == once
    assert len({_text(router, **drawn, seed=seed) for seed in (1, 2, 3)}) > 1


def a_stop_string_ends_it(router: Client, engine: Client) -> None:
    """And is left out, unless asked for; a stream holds nothing of it out by then. What it cost is what was said."""
    free = router.completions.create(**GREEDY)
    text = free.choices[0].text
    stop = text[len(text) // 2 :][:3]
    until = text[: text.index(stop)]
    for client in (router, engine):
        ended = client.completions.create(**GREEDY, stop=["never said", stop])
        assert (ended.choices[0].text, ended.choices[0].finish_reason) == (until, "stop")
        assert ended.usage.completion_tokens < free.usage.completion_tokens
    assert _streamed(router, stop=stop) == [until]
    assert _text(router, stop=stop, extra_body={"include_stop_str_in_output": True}) == until + stop
    chat = {**CHAT, "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    said = router.chat.completions.create(**chat).choices[0].message.content
    stop = said[len(said) // 2 :][:3]
    choices = _choices(router.chat.completions.create(**chat, stop=stop, stream=True))
    assert "".join(choice.delta.content or "" for choice in choices) == said[: said.index(stop)]
    assert choices[-1].finish_reason == "stop"


def several_choices_are_told_apart(router: Client, engine: Client) -> None:
    """Two draws of one seed differ, and are the same two again; each ends for itself; all tokens are counted."""
    drawn = {"n": 2, "seed": 5, "temperature": 1.0, "max_tokens": 8}
    whole = router.completions.create(**{**GREEDY, **drawn})
    texts = [choice.text for choice in sorted(whole.choices, key=lambda choice: choice.index)]
    assert [choice.finish_reason for choice in whole.choices] == ["length"] * 2
    assert whole.usage.completion_tokens == 16
    assert len(set(texts)) == 2
    assert _streamed(router, **drawn) == texts
    direct = engine.completions.create(**{**GREEDY, **drawn})
    assert [choice.text for choice in sorted(direct.choices, key=lambda choice: choice.index)] == texts
    chats = [client.chat.completions.create(**{**CHAT, **drawn}) for client in (router, engine)]
    first, second = [{choice.index: choice.message.content for choice in chat.choices} for chat in chats]
    assert (set(first), first) == ({0, 1}, second)


def usage_ends_a_stream_that_asks_for_it(router: Client, engine: Client) -> None:
    """In an event of its own, without choices; who does not ask reads of none."""
    whole = router.completions.create(**GREEDY).usage
    for client in (router, engine):
        *said, last = client.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True})
        assert last.choices == []
        assert all(chunk.usage is None and chunk.choices for chunk in said)
        assert last.usage.model_dump(include=_COUNTS) == whole.model_dump(include=_COUNTS)
        assert all(chunk.usage is None and chunk.choices for chunk in client.completions.create(**GREEDY, stream=True))
    *_, last = router.chat.completions.create(**CHAT, max_tokens=5, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage.completion_tokens) == ([], 5)


def prompts_may_be_token_ids(router: Client, engine: Client) -> None:
    """One prompt of them, short or long enough for its KV to cross, and several at once."""
    for prompt in (PROMPT, LONG):
        ids = _ids(router, prompt)
        given = router.completions.create(**{**GREEDY, "prompt": ids})
        assert given.choices[0].text == _text(router, prompt=prompt)
        assert given.usage.prompt_tokens == len(ids)
    pair = [_ids(router, text) for text in (PROMPT, "import os")]
    apart = [_text(engine, prompt=ids) for ids in pair]
    for client in (router, engine):
        assert [choice.text for choice in client.completions.create(**{**GREEDY, "prompt": pair}).choices] == apart


def conversations_go_on(router: Client, engine: Client) -> None:
    """Turn by turn, each with all before it."""
    messages: list[dict[str, str]] = [{"role": "system", "content": "x"}]
    for turn in ("import os", "x = 1"):
        messages.append({"role": "user", "content": turn})
        asked = {**CHAT, "messages": messages, "max_tokens": 5}
        one, other = (client.chat.completions.create(**asked) for client in (router, engine))
        assert one.choices[0].message.content == other.choices[0].message.content
        assert one.usage.prompt_tokens == other.usage.prompt_tokens
        messages.append({"role": "assistant", "content": one.choices[0].message.content})


def requests_of_others_are_load(router: Client, engine: Client) -> None:
    """What an engine has that the router did not send, it learns from the engine, and when that is over."""
    asked = {**GREEDY, "max_tokens": 4000}
    with engine.completions.create(**asked, stream=True) as stream:
        next(iter(stream))
        until(lambda: others_requests(router) == 1)
    until(lambda: others_requests(router) == 0)


CHECKS: Sequence[Callable[[Client, Client], None]] = (
    tools_are_called,
    answers_fit_a_schema,
    logprobs_are_the_models,
    a_seed_repeats_what_was_drawn,
    a_stop_string_ends_it,
    several_choices_are_told_apart,
    usage_ends_a_stream_that_asks_for_it,
    prompts_may_be_token_ids,
    conversations_go_on,
    requests_of_others_are_load,
)

_COUNTS = {"prompt_tokens", "completion_tokens", "total_tokens"}


def _text(client: Client, **asked: Any) -> str:
    """A completion of one choice, greedy unless asked otherwise."""
    text: str = client.completions.create(**{**GREEDY, **asked}).choices[0].text
    return text


def _streamed(client: Client, **asked: Any) -> list[str]:
    """The choices of a completion as their pieces come."""
    texts: dict[int, str] = {}
    for choice in _choices(client.completions.create(**{**GREEDY, **asked}, stream=True)):
        texts[choice.index] = texts.get(choice.index, "") + choice.text
    return [texts[index] for index in sorted(texts)]


def _choices(chunks: Any) -> list[Any]:
    return [choice for chunk in chunks for choice in chunk.choices]


def _ids(client: Client, prompt: str) -> list[int]:
    ids: list[int] = real_surface.post(root_of(client), "/tokenize", prompt=prompt)[1]["tokens"]
    return ids


def _verdict(said: str | None) -> dict[str, Any]:
    """What was said, which must fit the schema."""
    found: dict[str, Any] = json.loads(said or "")
    assert set(found) == {"verdict", "sure"}
    assert found["verdict"] in ("right", "wrong")
    assert isinstance(found["sure"], bool)
    return found
