"""A request counts as what it is to an engine: so many sequences, each choice of each prompt."""

import asyncio
from pathlib import Path

import pytest

from runtime.router.access.keys import KeyRing, new_key, write_keys
from runtime.router.choosing.load import Booking, Load
from runtime.router.legs.request import read_request
from tests.fakes import FakeEngine, serving
from tests.runtime.router.access.test_admission import admission
from tests.runtime.routing import routes_document, routing, soon


async def waiting(door, sequences: int) -> "asyncio.Task[None]":
    task = asyncio.create_task(door.enter("", sequences))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"prompt": "hi"}', 1),
        (b'{"prompt": "hi", "n": 3}', 3),
        (b'{"prompt": ["a", "b"], "n": 3}', 6),
        (b'{"prompt": [1, 2, 3]}', 1),
        (b'{"prompt": [[1], [2, 3]]}', 2),
        (b'{"prompt": [], "n": 0}', 1),
        (b'{"prompt": "a", "prompt_embeds": ["x", "y"]}', 2),
    ],
)
def test_each_choice_of_each_prompt_is_a_sequence(body: bytes, count: int):
    assert read_request(body).sequences == count


def test_a_booking_counts_each_sequence_where_it_is_decoded():
    load = Load()
    booking = Booking(load, 100, 4)
    booking.at("p0", "d0")
    assert (load.prompt_bytes, load.requests) == ({"p0": 100}, {"p0": 1, "d0": 4})
    booking.end()
    assert (load.prompt_bytes, load.requests) == ({}, {})


async def test_a_request_takes_a_place_for_each_of_its_sequences():
    door = admission(4)
    await door.enter("", 3)
    second, third = await waiting(door, 2), await waiting(door, 1)
    assert (door.in_flight, door.queued) == (3, 2)  # the third would fit, and waits its turn
    door.leave(3)
    await asyncio.gather(second, third)
    assert (door.in_flight, door.queued) == (3, 0)


async def test_one_that_is_of_more_than_there_are_places_now_goes_alone():
    door = admission(2)
    await door.enter("")
    heavy = await waiting(door, 5)
    assert not heavy.done()
    door.leave()
    await heavy
    light = await waiting(door, 1)
    door.leave(5)
    await light


async def test_who_waited_behind_one_that_goes_is_let_in():
    door = admission(2)
    await door.enter("")
    heavy, light = await waiting(door, 2), await waiting(door, 1)
    heavy.cancel()
    async with asyncio.timeout(10):
        await light
    assert (door.in_flight, door.queued) == (2, 0)


def three_places(engine: FakeEngine) -> dict:
    document = routes_document({"m0": engine}, [("m0", "m0", 1.0, "local")])
    document["replicas"][0]["max_requests"] = 3
    return document


async def test_what_exceeds_all_places_is_refused_and_costs_no_engine_anything(tmp_path: Path):
    engine = FakeEngine("m", hang=True)
    async with serving(engine), routing(tmp_path, three_places(engine)) as router:
        for body in ({"prompt": "hi", "n": 4}, {"prompt": ["a", "b"], "n": 2}):
            status, answer = await router.post(**body)
            assert (status, answer["error"]["code"]) == (400, "too_many_sequences")
            assert "of 4 sequences" in answer["error"]["message"]
            assert "there are places for 3" in answer["error"]["message"]
        assert engine.seen == []
        asking = asyncio.create_task(router.post(prompt=["a", "b", "c"]))
        await soon(engine.arrived)
        seen = await router.observed()
        assert (seen["admitted"], seen["in_flight_at"]) == (3, {"m0": 3})
        engine.released.set()
        assert (await asking)[0] == 200
        assert (await router.observed())["admitted"] == 0


async def test_a_keys_requests_a_minute_are_sequences(tmp_path: Path):
    engine = FakeEngine("m")
    key, text = new_key("alice", created_at=0.0, requests_per_minute=4)
    write_keys(tmp_path / "keys.json", [key])
    headers = {"Authorization": f"Bearer {text}"}
    keys, routes = KeyRing(tmp_path / "keys.json"), [("m0", "m0", 1.0, "local")]
    async with serving(engine), routing(tmp_path, routes_document({"m0": engine}, routes), keys=keys) as router:
        url, got = f"{router.url}/v1/completions", []
        for count in (5, 3, 3):
            async with router.http.post(url, json={"prompt": "hi", "n": count}, headers=headers) as response:
                got.append((response.status, (await response.json()).get("error", {}).get("code")))
    assert got == [(400, "too_many_sequences"), (200, None), (429, "rate_limit_exceeded")]
    assert len(engine.seen) == 1
