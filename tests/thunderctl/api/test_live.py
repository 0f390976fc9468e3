"""What is live: it comes without being asked for again, misses no event, and waits for nobody who is slow."""

import asyncio
import json
from contextlib import ExitStack

import pytest

from tests.thunderctl.api.serving import BEARER, Made, served
from thunderctl.api import app, hub, live
from thunderctl.api.hub import MOST_READERS, Hub, News
from thunderctl.api.live import Live
from thunderctl.api.numbers import Numbers
from thunderctl.api.refusals import Refusal


@pytest.fixture
async def api(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "Live", lambda source, numbers: Live(source, numbers, every_s=0.01))
    async with served(tmp_path) as made:
        yield made


class Stream:
    """Server-sent events as they come."""

    def __init__(self, response) -> None:
        self.response = response

    async def next(self, kind=None):
        """The next of a kind: its name, its data and its id."""
        async with asyncio.timeout(20):
            while True:
                lines = []
                while (line := (await self.response.content.readline()).decode()) not in ("\n", ""):
                    lines.append(line.rstrip("\n").partition(": "))
                if not lines:
                    raise EOFError
                found = {name: value for name, _, value in lines}
                if "data" in found and kind in (None, found["event"]):
                    return found["event"], json.loads(found["data"]), int(found.get("id", 0))


def following(api, **headers):
    return api.http.get(f"{api.url}/api/v1/live", headers=headers)


async def test_the_status_comes_first_and_again_when_it_changes(api):
    async with following(api) as response:
        assert response.content_type == "text/event-stream"
        stream = Stream(response)
        assert (await stream.next())[:2] == ("status", api.source.document)
        api.source.document["alerts"].append("something is wrong")
        while (await stream.next("status"))[1]["alerts"] != api.source.document["alerts"]:
            pass


async def test_a_status_that_says_the_same_is_not_told_again(api):
    async with following(api) as response:
        stream = Stream(response)
        await stream.next("status")
        asked = api.source.asked
        while api.source.asked < asked + 5:
            api.source.document["at"] += 1.0
            await asyncio.sleep(0.01)
        api.source.happens("step", "marks the end")
        assert (await stream.next())[0] == "event"


async def test_events_come_once_each_and_none_that_is_over(api):
    api.source.happens("step", "long ago")
    async with following(api) as response:
        stream = Stream(response)
        await stream.next("status")
        for number in range(3):
            api.source.happens("step", f"now {number}")
        told = [await stream.next("event") for _ in range(3)]
    assert [(data["message"], event_id) for _, data, event_id in told] == [("now 0", 2), ("now 1", 3), ("now 2", 4)]


async def test_who_comes_back_is_told_what_it_missed_once(api):
    for number in range(5):
        api.source.happens("step", str(number))
    async with following(api, **{"Last-Event-ID": "3"}) as response:
        stream = Stream(response)
        assert [(await stream.next("event"))[2] for _ in range(2)] == [4, 5]
        api.source.happens("step", "news")
        assert (await stream.next("event"))[2] == 6


async def test_who_comes_back_to_a_store_that_was_restored_is_told_what_happens_now(api):
    api.source.happens("step", "in the backup")
    async with following(api, **{"Last-Event-ID": "1000"}) as response:
        stream = Stream(response)
        await stream.next("status")
        api.source.happens("step", "now")
        assert (await stream.next("event"))[1]["message"] == "now"


async def test_what_happened_while_nobody_followed_is_not_gone_through_again(api, monkeypatch):
    monkeypatch.setattr(live, "MOST_MISSED", 1)
    for number in range(50):
        api.source.happens("step", f"long ago {number}")
    began, events = [], api.source.events

    async def noted(**asked):
        began.append(asked.get("after_id"))
        return await events(**asked)

    monkeypatch.setattr(api.source, "events", noted)
    async with following(api) as response:
        stream = Stream(response)
        await stream.next("status")
        api.source.happens("step", "now")
        assert (await stream.next("event"))[1]["message"] == "now"
    assert not set(began) & set(range(1, 50))


@pytest.mark.parametrize("said", ["x", "-1", "9" * 30, "٣"])
async def test_an_id_that_is_none_is_as_good_as_none(api, said):
    api.source.happens("step", "long ago")
    async with api.http.get(f"{api.url}/api/v1/live", params={"last_event_id": said}) as response:
        assert response.status == 200
        stream = Stream(response)
        await stream.next("status")
        api.source.happens("step", "now")
        assert (await stream.next("event"))[1]["message"] == "now"


async def test_points_come_as_they_are_made(api):
    async with following(api) as response:
        stream = Stream(response)
        point = api.source.ring.add(api.source.document)
        assert (await stream.next("point"))[1] == point


async def test_a_store_that_is_down_is_said_once_and_then_it_goes_on(api):
    async with following(api) as response:
        stream = Stream(response)
        await stream.next("status")
        api.source.down = "its disk is full"
        assert "its disk is full" in (await stream.next())[1]["error"]["message"]
        await asyncio.sleep(0.1)
        api.source.down = ""
        assert (await stream.next())[0] == "status"


async def test_who_comes_while_nothing_can_be_read_is_told_why(api):
    api.source.down = "its disk is full"
    await api.get("/api/v1/live", 503)


async def test_however_many_follow_the_source_is_asked_once(api):
    streams = [await following(api) for _ in range(20)]
    asked = api.source.asked
    assert asked <= 20 + 40
    for one in streams:
        one.close()


async def test_there_is_room_for_so_many(api, monkeypatch):
    monkeypatch.setattr(hub, "MOST_READERS", 2)
    streams = [await following(api, **BEARER) for _ in range(2)]
    assert (await api.get("/api/v1/live", 503, headers=BEARER))["error"]["kind"] == "Crowded"
    for one in streams:
        one.close()


async def test_who_did_not_sign_in_leaves_room_for_who_does(api, monkeypatch):
    monkeypatch.setattr(hub, "MOST_READERS", 5)
    monkeypatch.setattr(hub, "KEPT", 2)
    strangers = [await following(api) for _ in range(3)]
    async with following(api) as refused:
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
        assert "Sign in" in (await refused.json())["error"]["hint"]
    signed_in = [await following(api, **BEARER) for _ in range(3)]
    assert [one.status for one in signed_in] == [200] * 3
    async with asyncio.timeout(20):  # where all is taken one who did not sign in makes room: the first that came
        while await strangers[0].content.readline():
            pass
    for one in (*strangers[1:], *signed_in):
        await Stream(one).next("status")
        one.close()


def test_who_takes_nothing_of_what_it_is_told_makes_room_first(monkeypatch):
    monkeypatch.setattr(hub, "MOST_READERS", 5)
    monkeypatch.setattr(hub, "KEPT", 2)
    now = [0.0]
    crowd = Hub(Numbers(), clock=lambda: now[0])
    with ExitStack() as stack:
        first, silent, last = (stack.enter_context(crowd.reading(is_known=False)) for _ in range(3))
        crowd.tell(News(((0, b"x"),)))
        for one in (first, last):
            one.behind_since = None  # it was taken
        with pytest.raises(Refusal):  # it may be on its way yet
            stack.enter_context(crowd.reading(is_known=False))
        now[0] = 3.1
        stack.enter_context(crowd.reading(is_known=False))
        assert [one.over for one in (first, silent, last)] == [False, True, False]


async def test_a_slow_reader_is_let_go_and_the_others_are_not_kept_waiting(api, monkeypatch):
    monkeypatch.setattr(live, "WRITE_S", 0.2)
    api.source.document["model"] = "x" * 1_000_000
    host, _, port = api.url.removeprefix("http://").partition(":")
    slow, asks = await asyncio.open_connection(host, int(port), limit=1)
    asks.write(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await slow.read(1)
    quick = asyncio.ensure_future(_swallow(api))
    async with asyncio.timeout(30):
        while "thunder_api_live_readers 1.0" in (seen := await text(api)) or "readers 2.0" in seen or not quick.done():
            api.source.document["epoch"] += 1
            await asyncio.sleep(0.02)
    assert quick.result() >= 20_000_000
    asks.close()


async def _swallow(api):
    """Follow as fast as it comes; how many bytes that were, once they were many."""
    count = 0
    async with following(api) as response:
        while count < 20_000_000:
            count += len(await response.content.readany())
    return count


async def text(api):
    async with api.http.get(f"{api.url}/metrics") as response:
        return await response.text()


async def test_nobody_holds_up_the_end_of_the_server(tmp_path):
    async with served(tmp_path, Made()) as api:
        response = await following(api)
        await Stream(response).next("status")
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 5
    response.close()


async def test_who_asks_for_little_is_told_that_there_is_another_status_and_not_all_of_it(api):
    api.source.document["model"] = "x" * 100_000
    async with api.http.get(f"{api.url}/api/v1/live?brief=1") as response:
        stream = Stream(response)
        first = await stream.next("status")
        assert len(json.dumps(first[1])) < 1000
        assert first[1]["epoch"] == api.source.document["epoch"]
        api.source.document["replicas"][0]["running"] = 77
        assert (await stream.next("status"))[1] == first[1]
        api.source.happens("step", "told whole")
        assert (await stream.next("event"))[1]["message"] == "told whole"


async def test_of_what_waits_for_a_slow_reader_one_status_is_enough():
    crowd = Hub(Numbers())
    with crowd.reading() as slow, crowd.reading(is_brief=True) as brief:
        for number in range(100):
            text = f"status {number} ".encode()
            crowd.tell(News(((0, text * 1000),), ((0, text),), "status"))
        crowd.tell(News(((1, b"event"),)))
        assert await slow.next(1.0) == b"status 99 " * 1000 + b"event"
        assert await brief.next(1.0) == b"status 99 event"


def test_what_waits_for_a_reader_is_bounded():
    crowd = Hub(Numbers())
    with crowd.reading() as slow:
        for number in range(100):
            crowd.tell(News(((0, str(number).encode()),)))
        assert slow.over
        assert len(slow._waiting) <= 32
    assert len(crowd) == 0
    assert MOST_READERS <= 100
