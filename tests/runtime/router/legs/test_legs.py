"""What goes to the engines and what is taken out of their answers."""

import json
from dataclasses import replace

import pytest

from planner.deployment import Codec
from runtime.router.legs.bodies import decode_body, prefill_body
from runtime.router.legs.events import EventStream
from runtime.router.legs.passed import PassedEvents
from runtime.router.legs.request import ClientRequest, MalformedRequest, read_request
from runtime.router.legs.transfer import read_prefill_answer, without_transfer
from runtime.router.legs.usage import Usage, read_passed_usage, read_usage


def request_of(**fields: object):
    return read_request(json.dumps(fields).encode())


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_the_prefill_leg_asks_for_one_token_and_a_ticket():
    request = request_of(
        model="m", prompt="hi", stream=True, stream_options={"include_usage": True}, min_tokens=5, max_tokens=64, n=3
    )
    assert json.loads(prefill_body(request, Codec.INT4)) == {
        "model": "m",
        "prompt": "hi",
        "stream": False,
        "n": 1,
        "max_tokens": 1,
        "max_completion_tokens": 1,
        "kv_transfer_params": {"do_remote_decode": True, "codec": "int4", "readers": 3},
    }


def test_the_decode_leg_is_the_clients_own_body_with_the_ticket():
    body = b'{ "prompt": "h\\u00e9 \\ud83d\\ude00", "temperature": 0.10 }\n'
    sent = decode_body(read_request(body), b'{"ticket": "t"}')
    assert sent.startswith(body[:-3])
    assert json.loads(sent) == json.loads(body) | {"kv_transfer_params": {"ticket": "t"}}


def test_a_decode_leg_without_a_ticket_is_byte_for_byte_the_clients_body():
    body = b'{"prompt": "hi"}'
    assert decode_body(read_request(body), None) == body


def test_a_stream_that_could_be_replayed_is_asked_for_its_token_ids():
    request = request_of(prompt="hi", stream=True)
    assert json.loads(decode_body(request, None)) == {"prompt": "hi", "stream": True, "return_token_ids": True}
    assert json.loads(decode_body(request, b'{"ticket":"t"}'))["kv_transfer_params"] == {"ticket": "t"}
    assert "return_token_ids" not in json.loads(decode_body(request_of(prompt="hi", stream=True, n=2), None))


def test_ids_that_stand_for_a_chats_messages_go_with_the_transfers_words():
    request = replace(request_of(messages=[], stream=True), prompt_ids=[1, 2])
    assert json.loads(prefill_body(request, Codec.RAW))["kv_transfer_params"]["prompt_token_ids"] == [1, 2]
    assert json.loads(decode_body(request, None))["kv_transfer_params"] == {"prompt_token_ids": [1, 2]}
    sent = json.loads(decode_body(request, b'{"ticket":"t"}'))["kv_transfer_params"]
    assert sent == {"prompt_token_ids": [1, 2], "ticket": "t"}


def test_an_empty_object_takes_a_ticket_too():
    assert json.loads(decode_body(read_request(b"{}"), b"{}")) == {"kv_transfer_params": {}}


def test_transfer_parameters_of_a_client_are_taken_out():
    request = request_of(prompt="hi", kv_transfer_params={"do_remote_prefill": True})
    assert json.loads(decode_body(request, None)) == {"prompt": "hi"}
    assert json.loads(decode_body(request, b'"mine"'))["kv_transfer_params"] == "mine"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff", b"nul", "{}".encode("utf-16"), b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes):
    with pytest.raises(MalformedRequest):
        read_request(body)


@pytest.mark.parametrize(
    ("fields", "local"),
    [
        ({"prompt": "hi"}, False),
        ({"prompt": "hi", "echo": True}, True),
        ({"prompt": "hi", "echo": False}, False),
        ({"messages": [], "prompt_logprobs": 0}, True),
        ({"prompt": [1, 2, 3]}, False),
        ({"prompt": ["one"]}, False),
        ({"prompt": ["one", "two"]}, True),
        ({"prompt": [[1, 2], [3]]}, True),
        ({"prompt_embeds": "AAAA"}, True),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, False),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:A"}}]}]}, True),
        ({"messages": [{"role": "user", "content": [{"input_audio": {"data": "A", "format": "wav"}}]}]}, True),
    ],
)
def test_what_external_kv_is_no_use_to_goes_straight_to_decode(fields: dict[str, object], local: bool):
    assert request_of(**fields).needs_local is local


@pytest.mark.parametrize("word", ["kv_transfer_params", "ec_transfer_params"])
def test_transfer_parameters_among_vllms_extra_arguments_are_taken_out_too(word: str):
    """vLLM puts those beside its own: a string there was a 500, with an engine to blame for it."""
    made = request_of(prompt="hi", vllm_xargs={"mine": 1, word: "x"}, **{word: {"a": 1}})
    assert json.loads(made.body) == made.document == {"prompt": "hi", "vllm_xargs": {"mine": 1}}


@pytest.mark.parametrize(("n", "readers"), [(3, 3), (1, 1), (0, 1), (-1, 1), (True, 1), ("2", 1), (10**18, 1)])
def test_a_ticket_is_for_as_many_readers_as_an_engine_would_let_be(n: object, readers: int):
    assert json.loads(prefill_body(request_of(prompt="hi", n=n), Codec.RAW))["kv_transfer_params"]["readers"] == readers


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_a_number_beyond_64_bits_is_refused(value: int):
    """No engine's messages hold it: vLLM says 500, as would every other replica."""
    with pytest.raises(MalformedRequest, match="top_k is beyond 64 bits"):
        request_of(prompt="hi", top_k=value)


def test_what_can_be_read_but_not_written_any_more_is_refused():
    document: dict[str, object] = {"prompt": "hi"}
    for _ in range(2000):
        document = {"a": document}
    with pytest.raises(MalformedRequest):
        prefill_body(ClientRequest(b"", document, False, False, 1), Codec.RAW)


@pytest.mark.parametrize(
    ("more", "usage"),
    [
        ({"output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}, Usage(7, 3, 4)),
        ({"output_tokens": 3, "cache_read_input_tokens": 2}, Usage(9, 3, 2)),
        ({"output_tokens": "3", "input_tokens_details": {"cached_tokens": 0.5}}, Usage(7, 0)),
        ({"output_tokens": 3.5, "input_tokens_details": [4], "cache_read_input_tokens": "2"}, Usage(7, 0)),
    ],
)
def test_of_a_passed_usage_whole_numbers_count(more: dict[str, object], usage: Usage):
    assert read_passed_usage(json.dumps({"usage": {"input_tokens": 7, **more}}).encode()) == usage


def test_prompt_tokens_that_are_no_whole_number_were_not_stated():
    assert read_prefill_answer(b'{"usage": {"prompt_tokens": 7}}') == (None, 7)
    assert read_prefill_answer(b'{"usage": {"prompt_tokens": "7"}}') == (None, None)


def test_an_event_that_is_no_object_is_passed_on():
    event = b'event: x\ndata: ["usage", {"usage":{"input_tokens":1}}]\n\n'
    assert PassedEvents().feed(event) == event


@pytest.mark.parametrize("document", [{"model": "m"}, {"usage": None}, {"usage": {}}, {"usage": {"input_tokens": "7"}}])
def test_an_answer_may_state_no_usage(document: dict[str, object]):
    assert read_passed_usage(json.dumps(document | {"output_tokens": 1}).encode()) is None


def test_the_ticket_is_read_from_the_prefill_answer_with_the_prompts_length():
    answer = {
        "usage": {"prompt_tokens": 12, "total_tokens": 13, "completion_tokens": 1},
        "kv_transfer_params": {"ticket": "t", "ids": [1]},
    }
    ticket, tokens = read_prefill_answer(json.dumps(answer).encode())
    assert (json.loads(ticket or b""), tokens) == ({"ticket": "t", "ids": [1]}, 12)


def test_a_prefill_answer_may_have_no_ticket():
    assert read_prefill_answer(b'{"kv_transfer_params": null}') == (None, None)


@pytest.mark.parametrize("answer", [b"<html>", b"[]"])
def test_a_prefill_answer_that_is_no_engines_is_an_error(answer: bytes):
    with pytest.raises(ValueError, match=r"JSON object|Expecting"):
        read_prefill_answer(answer)


def test_transfer_words_are_taken_out_of_an_answer():
    assert without_transfer(b'{"id":"x","kv_transfer_params":null,"a":1}') == b'{"id":"x","a":1}'
    assert json.loads(without_transfer(b'{"kv_transfer_params": {"ticket": "t"}, "a": 1}')) == {"a": 1}


def test_text_that_talks_about_transfer_words_stays():
    answer = json.dumps({"text": 'say ,"kv_transfer_params":null please'}).encode()
    assert json.loads(without_transfer(answer)) == json.loads(answer)


def test_a_stream_is_passed_on_as_it_comes_and_counted():
    stream = EventStream()
    first = event(choices=[{"delta": {"role": "assistant", "content": ""}}])
    words = [event(choices=[{"delta": {"content": word}}]) for word in "abc"]
    chunks = [first, words[0] + words[1], words[2] + DONE]
    assert b"".join(stream.feed(chunk) for chunk in chunks) == b"".join(chunks)
    assert (stream.content_events, stream.done, stream.usage) == (3, True, None)


def test_events_cut_anywhere_are_passed_on_whole():
    data = event(choices=[{"text": "a"}]) + event(choices=[{"text": "b"}]) + DONE
    for size in range(1, 20):
        stream = EventStream()
        pieces = [stream.feed(data[at : at + size]) for at in range(0, len(data), size)]
        assert b"".join(pieces) == data
        assert all(piece == b"" or piece.endswith(b"\n\n") for piece in pieces)
        assert (stream.content_events, stream.done) == (2, True)


def test_usage_of_a_stream_is_read_and_its_event_counts_for_no_token():
    stream = EventStream()
    usage = {"prompt_tokens": 9, "total_tokens": 11, "completion_tokens": 2}
    stream.feed(event(choices=[{"text": "a"}]) + event(choices=[{"text": "b"}]))
    stream.feed(event(choices=[], usage=usage) + DONE)
    assert (stream.content_events, stream.usage) == (2, Usage(9, 2))


def test_a_token_that_comes_with_the_running_usage_still_counts():
    stream = EventStream()
    usage = {"prompt_tokens": 9, "total_tokens": 10, "completion_tokens": 1}
    stream.feed(event(choices=[{"text": "a"}], usage=usage))
    assert stream.content_events == 1


def test_transfer_words_are_taken_out_of_events():
    stream = EventStream()
    passed = stream.feed(event(choices=[{"text": "a"}], kv_transfer_params={"t": 1}) + DONE)
    assert passed == b'data: {"choices": [{"text": "a"}]}\n\n' + DONE


def test_a_text_that_says_done_does_not_end_the_stream():
    stream = EventStream()
    stream.feed(event(choices=[{"text": "data: [DONE]"}]))
    assert (stream.content_events, stream.done) == (1, False)


def test_events_may_be_parted_by_carriage_returns_too():
    stream = EventStream()
    data = b'data: {"text":"a"}\r\n\r\ndata: {"text":"b","kv_transfer_params":null}\r\n\r\ndata: [DONE]\r\n\r\n'
    assert stream.feed(data) == data.replace(b',"kv_transfer_params":null', b"")
    assert (stream.content_events, stream.done) == (2, True)


def test_a_last_line_without_a_blank_one_ends_the_stream():
    stream = EventStream()
    assert stream.feed(event(text="a") + b"data: [DONE]\n") == event(text="a")
    assert (stream.end(), stream.done) == (DONE, True)


def test_half_an_event_at_the_end_is_no_end():
    stream = EventStream()
    stream.feed(event(text="a") + b'data: {"te')
    assert (stream.end(), stream.done) == (b"", False)


def test_an_engines_own_error_is_noticed():
    stream = EventStream()
    data = event(text="a") + b'data: {"error": {"message": "m"}}\n\n' + DONE
    assert stream.feed(data) == data
    assert (stream.content_events, stream.done, stream.says_error) == (1, True, True)


@pytest.mark.parametrize(
    "after", [{}, {"prompt_token_ids": list(range(10_000))}, {"text": '"usage":{"prompt_tokens":1}'}]
)
def test_usage_is_found_whatever_follows_it(after: dict[str, object]):
    """With prompt_logprobs or return_token_ids, vLLM writes much after it."""
    usage = {"prompt_tokens": 3000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 16}}
    assert read_usage(json.dumps({"id": "x", "usage": usage, **after}).encode()) == Usage(3000, 200, 16)


def test_an_answer_without_usage_has_none():
    assert read_usage(b'{"usage":null,"choices":[]}') is None
    assert read_usage(b'{"prompt_tokens":1,"completion_tokens":2}') is None


@pytest.mark.parametrize("said", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
def test_a_stream_that_can_not_be_replayed_is_asked_for_its_usage(said: dict[str, object]):
    fields = {"prompt": "hi", "stream": True, "n": 2}
    sent = decode_body(request_of(**fields, **said), b'{"ticket":"t"}')
    assert sent.count(b'"stream_options"') == 1
    assert json.loads(sent) == {
        **fields,
        "stream_options": {"include_usage": True},
        "kv_transfer_params": {"ticket": "t"},
    }


@pytest.mark.parametrize(
    "options", [{"include_usage": True, "continuous_usage_stats": True}, "all", {"include_usage": 1}]
)
def test_what_a_client_asks_of_usage_is_its_own_affair(options: object):
    request = request_of(prompt="hi", stream=True, n=2, stream_options=options)
    assert (request.adds_usage, decode_body(request, None)) == (False, request.body)


def test_usage_that_nobody_asked_for_is_noted_and_not_passed_on():
    stream = EventStream(drops_usage=True)
    usage = {"prompt_tokens": 9, "total_tokens": 10, "completion_tokens": 1}
    text, running = event(choices=[{"text": "a"}]), event(choices=[{"text": '"choices":[]'}], usage=usage)
    data = text + running + event(choices=[], usage=usage) + DONE
    assert b"".join(stream.feed(data[at : at + 7]) for at in range(0, len(data), 7)) == text + running + DONE
    assert EventStream(drops_usage=True).feed(data) == text + running + DONE
    assert (stream.usage, stream.content_events, stream.done) == (Usage(9, 1), 2, True)
