"""What the window of observed requests says of answers that never came, or had no first token to time."""

import asyncio
from pathlib import Path

import pytest

from runtime.router.watching.lengths import FEWEST_ENDED
from runtime.router.watching.observed import LISTED_REQUESTS, WINDOW_S, Observed, RequestRecord
from tests.runtime.routing import PAIR, Clock, routes_document, routing, soon


def judged(seen: dict) -> tuple[int, int, int]:
    return len(seen["latencies"]), seen["untimed"], seen["failed"]


@pytest.mark.parametrize(
    ("outcome", "ttft_s", "where"),
    [
        ("ok", 0.1, (1, 0, 0)),
        ("ok", None, (0, 1, 0)),
        ("unavailable", None, (0, 0, 1)),
        ("failed", None, (0, 0, 1)),
        ("interrupted", None, (0, 0, 1)),
        ("interrupted", 0.1, (0, 0, 1)),  # once, and not by its first token
        ("cancelled", 0.1, (1, 0, 0)),
        ("cancelled", None, (0, 0, 0)),
        ("refused", None, (0, 0, 0)),
    ],
)
def test_each_request_is_judged_in_one_place(outcome: str, ttft_s: float | None, where: tuple[int, int, int]):
    clock = Clock()
    observed = Observed(now=clock)
    observed.finished(RequestRecord(clock(), outcome, ttft_s=ttft_s, e2e_s=1.0))
    assert judged(observed.summary()) == where


def test_failures_are_those_among_the_requests_that_are_listed():
    """Else attainment would set all failures of the window against a part of its answers."""
    clock = Clock()
    observed = Observed(now=clock)
    for _ in range(LISTED_REQUESTS):
        observed.finished(RequestRecord(clock(), "failed", e2e_s=1.0))
        observed.finished(RequestRecord(clock(), "ok", ttft_s=0.1, e2e_s=1.0))
    assert judged(observed.summary()) == (LISTED_REQUESTS // 2, 0, LISTED_REQUESTS // 2)


def test_a_request_that_took_longer_than_the_window_is_seen_at_its_end():
    clock = Clock()
    observed = Observed(now=clock)
    record = RequestRecord(clock(), "unavailable", e2e_s=2 * WINDOW_S)
    clock.seconds += 2 * WINDOW_S
    observed.finished(record)
    assert judged(observed.summary()) == (0, 0, 1)
    clock.seconds += WINDOW_S + 1
    assert judged(observed.summary()) == (0, 0, 0)


def test_the_last_part_of_the_window_may_be_asked_for():
    clock = Clock()
    observed = Observed(now=clock)
    clock.seconds += WINDOW_S
    for ago_s, tokens in ((200.0, 1), (100.0, 2), (10.0, 3)):
        record = RequestRecord(clock() - ago_s, "ok", ttft_s=0.1, e2e_s=1.0, prompt_tokens=tokens, output_tokens=1)
        observed.arrived(record)
        observed.finished(record)
    for asked_s, prompts in ((None, [1, 2, 3]), (120.0, [2, 3]), (60.0, [3]), (10 * WINDOW_S, [1, 2, 3])):
        seen = observed.summary(asked_s)
        seconds = min(asked_s or WINDOW_S, WINDOW_S)
        assert [prompt for prompt, _ in seen["lengths"]] == prompts
        assert (seen["window_s"], seen["rate_rps"]) == (seconds, len(prompts) / seconds)


def test_streams_under_way_say_how_long_they_wait_or_did():
    clock = Clock()
    observed = Observed(now=clock)
    waits, reads, whole = (RequestRecord(clock(), streamed=streamed) for streamed in (True, True, False))
    for record in (waits, reads, whole):
        observed.arrived(record)
    clock.seconds += 7.0
    reads.ttft_s = 3.0
    assert observed.summary()["ttft_so_far_s"] == [7.0, 3.0]
    for record in (waits, reads, whole):
        observed.finished(record)
    assert observed.summary()["ttft_so_far_s"] == []


def test_an_answer_that_was_given_up_is_at_least_as_long_as_it_was():
    clock = Clock()
    observed = Observed(now=clock)
    for outcome, tokens in [("ok", 10)] * 10 + [("ok", 100)] * 10 + [("cancelled", 50)] * 10:
        observed.finished(RequestRecord(clock(), outcome, e2e_s=1.0, prompt_tokens=5, output_tokens=tokens))
    assert sorted(observed.summary()["lengths"]) == [[5, 10]] * 10 + [[5, 100]] * 20


def test_of_very_many_requests_some_evenly_apart_stand_for_all():
    clock = Clock()
    observed = Observed(now=clock)
    for number in range(2 * LISTED_REQUESTS):
        record = RequestRecord(clock(), streamed=True, so_far=lambda: (7, 40))
        observed.arrived(record)
        if number % 2:
            record.outcome, record.e2e_s, record.prompt_tokens, record.output_tokens = "ok", 0.0, 7, 30
            observed.finished(record)
    seen = observed.summary()
    assert len(seen["lengths"]) == len(seen["ttft_so_far_s"]) == LISTED_REQUESTS
    assert seen["output_tokens_mean"] == 35.0


async def test_a_stream_under_way_counts_with_the_tokens_it_has(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        for _ in range(FEWEST_ENDED):
            await router.events(prompt="hi", max_tokens=3)
        (ended,) = {tuple(lengths) for lengths in (await router.observed())["lengths"]}
        pair["d0"].hang = True
        pair["d0"].arrived.clear()
        asking = asyncio.create_task(router.post(prompt="hi", stream=True))
        await soon(pair["d0"].arrived)
        seen = await router.observed()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert len(seen["ttft_so_far_s"]) == 1
    assert (len(seen["lengths"]), seen["lengths"][-1][1]) == (FEWEST_ENDED + 1, ended[1])


async def test_failures_are_counted_beside_what_was_timed(pair, tmp_path: Path):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        await router.events(prompt="hi", max_tokens=3)
        await router.post(prompt="hi", max_tokens=3)
        for status, said in ((400, 400), (500, 503)):
            pair["d0"].status = status
            assert (await router.post(prompt="hi"))[0] == said
        pair["d0"].status, pair["d0"].break_after = 200, 1
        await router.events(prompt="hi", max_tokens=3)
        seen = await router.observed()
    assert seen["requests"] == {"ok": 2, "interrupted": 1, "unavailable": 1, "refused": 1}
    assert judged(seen) == (1, 1, 2)


async def test_a_client_that_goes_away_is_no_failure(pair, tmp_path: Path):
    pair["d0"].hang = True
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        asking = asyncio.create_task(router.post(prompt="hi"))
        await soon(pair["d0"].arrived)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        seen = await first_outcome(router)
    assert (seen["requests"], judged(seen)) == ({"cancelled": 1}, (0, 0, 0))


@pytest.mark.parametrize(
    ("framing", "rest"),
    [
        (b"Content-Length: 100\r\n\r\n{", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"nonsense\r\n"),
    ],
)
async def test_a_body_that_never_came_whole_is_no_failure(pair, tmp_path: Path, framing: bytes, rest: bytes):
    async with routing(tmp_path, routes_document(pair, PAIR)) as router:
        host, port = router.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + framing)
        while not (await router.observed())["rate_rps"]:
            await asyncio.sleep(0.01)
        writer.write(rest)
        await writer.drain()
        writer.close()
        seen = await first_outcome(router)
    assert seen["requests"] in ({"cancelled": 1}, {"refused": 1})  # it was told, or had gone already
    assert judged(seen) == (0, 0, 0)


async def first_outcome(router) -> dict:
    async with asyncio.timeout(10):
        while not (seen := await router.observed())["requests"]:
            await asyncio.sleep(0.01)
    return seen
