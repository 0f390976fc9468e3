"""Where a stream may be cut, what goes on from there, and which requests may be replayed at all."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.router.legs.bodies import decode_body
from runtime.router.legs.events import EventStream
from runtime.router.legs.replayable import obstacle
from runtime.router.legs.request import read_request
from runtime.router.legs.transcript import Transcript
from runtime.router.replay.cut import CannotReplay, continued, cut
from tests.runtime.routing import MESSAGES
from tests.runtime.token_engine import DecodeStream, TokenEngine, generate


async def joined(script: Sequence[bytes], body: dict[str, Any], *, batch: int, after: int) -> str:
    """The text of an answer that broke off after so many events and was taken up, as its client reads it."""
    client = read_request(json.dumps({**body, "stream": True}).encode())
    events, said = EventStream(Transcript()), ""
    for piece, data in list(wire(script, json.loads(decode_body(client, None)), batch))[:after]:
        events.feed(data)
        said += piece.text
    assert events.transcript is not None

    async def text(ids: Sequence[int]) -> str:
        return DecodeStream(script, []).decode(ids)

    at = await cut(events.transcript, events.content_events, client.document, text)
    if at.finished:
        return said
    rest = generate(script, json.loads(decode_body(continued(client, at, 0), None)), batch=batch)
    return said + at.held + "".join(piece.text for piece in rest)


def wire(script: Sequence[bytes], body: dict[str, Any], batch: int):
    engine = TokenEngine(script=script, batch=batch)
    for piece, document in zip(generate(script, body, batch=batch), engine._documents(body), strict=True):
        yield piece, f"data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


TEXTS = st.text(alphabet="ab. \né€😀", min_size=1, max_size=30)
PIECES = st.lists(st.integers(1, 5), min_size=30, max_size=30)
STOPS = st.lists(st.text(alphabet="ab. \né", min_size=1, max_size=4), max_size=2)


@given(text=TEXTS, sizes=PIECES, stops=STOPS, batch=st.integers(1, 4), after=st.integers(1, 40))
def test_the_text_joins_whatever_the_tokens_are(text: str, sizes: list[int], stops: list[str], batch: int, after: int):
    """Tokens that end within characters, several in one event, stop strings anywhere."""
    data, script = text.encode(), []
    for size in sizes:
        script, data = [*script, data[:size]] if data else script, data[size:]
    script += [data] if data else []
    body = {"prompt": "Say: ", "max_tokens": 1000, "stop": stops}
    undisturbed = "".join(piece.text for piece in generate(script, body))
    try:
        assert asyncio.run(joined(script, body, batch=batch, after=after)) == undisturbed
    except CannotReplay:
        assert any(len(stop) > 1 for stop in stops)


async def test_a_stop_string_that_is_kept_and_has_begun_is_not_cut():
    transcript = Transcript()
    script = (b"a", b"b")
    body = {"prompt": "x", "max_tokens": 10, "return_token_ids": True}
    transcript.take(next(wire(script, body, 1))[1])

    async def text(ids: Sequence[int]) -> str:
        return DecodeStream(script, []).decode(ids)

    with pytest.raises(CannotReplay, match="can't be cut"):
        await cut(transcript, 1, {"stop": "ab", "include_stop_str_in_output": True}, text)
    assert (await cut(transcript, 1, {"stop": "xb", "include_stop_str_in_output": True}, text)).held == ""


@pytest.mark.parametrize("event", [b'data: {"choices":[7]}', b'data: {"choices"', b'data: {"choices":{"delta":[1]}}'])
async def test_events_that_no_engine_writes_are_not_replayed(event: bytes):
    transcript = Transcript()
    transcript.take(event + b"\n\n")
    with pytest.raises(CannotReplay, match="can't be read"):
        await cut(transcript, 1, {}, None)


def test_of_what_came_in_one_piece_only_the_end_is_kept():
    transcript = Transcript()
    event = b'data: {"choices":[{"text":"a","token_ids":[5]}]}\n\n'
    assert transcript.take(event * 1000) == event.replace(b"[5]", b"null") * 1000
    assert transcript.output == [5] * 1000
    assert 50 < len(transcript.last_documents()) < 100


async def test_a_parsers_output_is_not_replayed():
    transcript = Transcript()
    transcript.take(b'data: {"prompt_token_ids":[1],"choices":[{"delta":{"reasoning":"hm"},"token_ids":[7]}]}\n\n')
    with pytest.raises(CannotReplay, match="reasoning can't be replayed"):
        await cut(transcript, 1, {}, None)


@pytest.mark.parametrize(
    "document",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "…"}}]}]},
        {"prompt": ["one", "two"]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": "x", "tools": [{"type": "function"}]},
        {"prompt": "x", "max_tokens": "10"},
    ],
)
def test_more_that_no_replay_answers(document: dict[str, Any]):
    assert obstacle(document)


@pytest.mark.parametrize(
    "document",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "temperature": 0.7, "top_p": 0.9},
        {"prompt": [1, 2, 3], "repetition_penalty": 1.1, "logit_bias": {"5": -100}, "n": 1, "echo": False},
        {"prompt": ["one"], "seed": 7, "temperature": 0, "presence_penalty": 0.0, "logprobs": None},
        {
            "messages": MESSAGES,
            "tools": [{"type": "function"}],
            "tool_choice": "none",
            "response_format": {"type": "text"},
        },
    ],
)
def test_what_a_replay_answers(document: dict[str, Any]):
    assert obstacle(document) == ""


def test_an_event_that_is_there_for_its_ids_alone_is_not_passed_on():
    """A parser held its token back: without the ids, which the client did not ask for, vLLM would have said nothing."""
    stream = EventStream(Transcript())
    choice = b'data: {"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b,"token_ids":[%d]}]}\n\n'
    held, said, last = (
        choice % (b"{}", b"null", 1),
        choice % (b'{"content":"{}"}', b"null", 2),
        choice % (b"{}", b'"stop"', 3),
    )
    events = stream.feed(held + said) + stream.feed(held) + stream.feed(last)
    assert events == (said + last).replace(b"[2]", b"null").replace(b"[3]", b"null")
    assert (stream.content_events, stream.transcript.lists, stream.transcript.output) == (4, 4, [1, 2, 1, 3])


def test_a_transcript_takes_out_what_it_keeps():
    transcript = Transcript()
    first = b'data: {"choices":[{"text":"a","prompt_token_ids":[1,22],"token_ids":[3]}]}\n\n'
    assert transcript.take(first) == b'data: {"choices":[{"text":"a","prompt_token_ids":null,"token_ids":null}]}\n\n'
    several = b'data: {"choices":[{"text":"\\"token_ids\\":[9]","token_ids":[4,5]}]}\n\n'
    assert transcript.take(several * 2) == several.replace(b"[4,5]", b"null") * 2
    assert (transcript.prompt, transcript.output, transcript.lists) == ([1, 22], [3, 4, 5, 4, 5], 3)
