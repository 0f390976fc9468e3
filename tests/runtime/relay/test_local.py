"""An engine's processes at their agent's door, over a real Unix socket and a real pool."""

import asyncio
import threading

import pytest

from planner.deployment import Codec
from runtime.relay.door import AgentDoor
from runtime.relay.greeting import GREETING, LENGTH
from runtime.relay.local import LocalDoor
from runtime.relay.relay import Relay
from runtime.relay.session import AgentGone, AgentRefused, AgentSlow, Session
from runtime.relay.ticket import Ticket, format_json
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import seal
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout

FORMAT = KvFormat(Geometry(2, 2, 64, "float16"), 100, Codec.INT8)
POOL = 1 << 20


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "door.sock")


@pytest.fixture
async def relay(clock):
    relay = Relay(
        agent_name="me.agent.thunder",
        advertise=("127.0.0.1", 1),
        pool_bytes=POOL,
        ssl_context=None,
        now=clock,
    )
    await relay.start()
    yield relay
    await relay.close()


@pytest.fixture
async def door(relay, path):
    door = LocalDoor(relay, path)
    await door.start()
    yield door
    await door.close()


class Engine:
    """A scheduler and its ranks, each a blocking door used from a thread."""

    def __init__(self, path, ranks):
        self.scheduler = AgentDoor(path, owner="engine", rank=None)
        self.ranks = [AgentDoor(path, owner="engine", rank=rank) for rank in range(ranks)]

    async def connect(self):
        for door in (self.scheduler, *self.ranks):
            await asyncio.to_thread(door.open)
        await asyncio.sleep(0.05)
        return self

    async def reserve(self, readers=1, ranks=None, within_s=0.0):
        fields = {
            "format": format_json(FORMAT),
            "binding": "b",
            "ranks": ranks or len(self.ranks),
            "readers": readers,
            "within_s": within_s,
        }
        return await asyncio.to_thread(self.scheduler.call, "reserve", fields, timeout_s=2)

    async def encode(self, answer, rank=0):
        ticket = Ticket.from_json(answer["ticket"])
        memory = self.ranks[rank].session().memory
        for tile, at, length in Layout(FORMAT, FORMAT.whole).frames():
            frame = memory.view(answer["offset"] + at, length)
            frame[32:] = bytes([tile.layer * 2 + tile.head]) * (length - 32)
            seal(frame, FORMAT.prefix(tile, ticket.tag))
        await asyncio.to_thread(
            self.ranks[rank].call, "encoded", {"ticket": ticket.ticket, "seconds": 0.1}, timeout_s=2
        )

    async def fetch(self, ticket, box=(0, 2, 0, 2, 0, 2), rank=0, timeout_s=2.0):
        fields = {"ticket": ticket, "box": box, "timeout_s": timeout_s}
        return await asyncio.to_thread(self.ranks[rank].call, "fetch", fields, timeout_s=5)

    def close(self):
        for door in (self.scheduler, *self.ranks):
            door.close()


@pytest.fixture
async def engine(door):
    engine = await Engine(door.path, ranks=1).connect()
    yield engine
    engine.close()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_tiles_go_through_the_pool_and_all_bytes_come_back(relay, engine):
    answer = await engine.reserve()
    await engine.encode(answer)
    got = await engine.fetch(answer["ticket"], box=[1, 2, 1, 2, 0, 2])
    frame = engine.ranks[0].session().memory.view(got["offset"], got["length"])
    assert bytes(frame[32:100]) == bytes([3]) * 68
    engine.ranks[0].tell("release", {"offset": got["offset"]})
    engine.scheduler.tell("ack", {"ticket": answer["ticket"]})
    await until(lambda: relay.pool.used_bytes == 0)
    assert relay.health.kv["fetches_done"] == 1
    assert relay.health.kv["tickets_read"] == 1


async def test_two_requests_of_one_rank_read_the_same_tiles_in_one_place(relay, engine):
    answer = await engine.reserve()
    asking = [asyncio.create_task(engine.fetch(answer["ticket"])) for _ in range(2)]
    await asyncio.sleep(0.1)
    await engine.encode(answer)
    first, second = await asyncio.gather(*asking)
    assert first["offset"] == second["offset"]
    relay.drop(answer["ticket"]["ticket"], answer["ticket"]["capability"])
    for used_bytes in (relay.pool.used_bytes, 0):
        assert relay.pool.used_bytes > 0
        await asyncio.to_thread(engine.ranks[0].call, "release", {"offset": first["offset"]}, timeout_s=2)
        assert relay.pool.used_bytes == used_bytes


async def test_a_fetch_waits_for_a_ticket_that_is_still_being_encoded(engine):
    answer = await engine.reserve()
    fetching = asyncio.create_task(engine.fetch(answer["ticket"]))
    await asyncio.sleep(0.1)
    assert not fetching.done()
    await engine.encode(answer)
    assert (await fetching)["length"] == Layout(FORMAT, FORMAT.whole).size


async def test_no_ticket_unless_all_ranks_are_there_to_encode_it(engine):
    with pytest.raises(AgentRefused, match="Not all 2 ranks"):
        await engine.reserve(ranks=2)


async def test_a_full_pool_gives_no_ticket_and_the_engine_hears_why(relay, engine):
    relay.pool.reserve(POOL)
    with pytest.raises(AgentRefused) as refused:
        await engine.reserve()
    assert refused.value.reason == "PoolFull"
    assert relay.health.kv["tickets_refused_full"] == 1


async def test_a_ticket_waits_a_moment_for_room_and_others_are_answered_meanwhile(relay, engine):
    everything = relay.pool.reserve(POOL)
    asking = asyncio.create_task(engine.reserve(within_s=1.5))
    await until(lambda: relay._room._freed._waiters)
    await asyncio.to_thread(engine.ranks[0].call, "note", {"what": "here"}, timeout_s=2)
    assert not asking.done()
    relay._room.free(everything)
    assert (await asking)["ok"]


async def test_a_ticket_that_never_fits_is_refused_at_once(relay, engine):
    relay.pool.reserve(POOL)
    relay.pool.size = 4096
    with pytest.raises(AgentRefused, match="does not fit"):
        await engine.reserve(within_s=60.0)


async def test_a_fetch_waits_for_room_in_the_pool(relay, engine):
    answer = await engine.reserve()
    await engine.encode(answer)
    rest = relay.pool.reserve(POOL - relay.pool.used_bytes)
    fetching = asyncio.create_task(engine.fetch(answer["ticket"]))
    await asyncio.sleep(0.1)
    relay._room.free(rest)
    assert (await fetching)["ok"]


async def test_a_failed_encoding_reaches_the_one_who_waits(relay, engine):
    answer = await engine.reserve()
    fetching = asyncio.create_task(engine.fetch(answer["ticket"]))
    engine.ranks[0].tell("encode_failed", {"ticket": answer["ticket"]["ticket"], "reason": "NaN in layer 3"})
    with pytest.raises(AgentRefused, match="NaN in layer 3"):
        await fetching
    assert relay.health.kv["tickets_failed"] == 1
    assert relay.pool.used_bytes == 0
    with pytest.raises(AgentRefused, match="NaN in layer 3"):
        await engine.fetch(answer["ticket"])


async def test_a_rank_that_dies_fails_its_tickets_and_frees_what_it_fetched(relay, engine):
    done, waiting = await engine.reserve(), await engine.reserve()
    await engine.encode(done)
    await engine.fetch(done["ticket"])
    engine.ranks[0].close()
    await until(lambda: relay.health.kv.get("tickets_failed") == 1)
    relay.drop(done["ticket"]["ticket"], done["ticket"]["capability"])
    relay.drop(waiting["ticket"]["ticket"], waiting["ticket"]["capability"])
    assert relay.pool.used_bytes == 0


async def test_an_expired_ticket_is_gone(relay, engine, clock):
    answer = await engine.reserve()
    await engine.encode(answer)
    clock.now = 61
    relay.sweep()
    with pytest.raises(AgentRefused) as refused:
        await engine.fetch(answer["ticket"])
    assert refused.value.reason == "UnknownTicket"
    assert (relay.pool.used_bytes, relay.health.tickets) == (0, 0)


async def test_a_wrong_capability_opens_nothing(engine):
    answer = await engine.reserve()
    await engine.encode(answer)
    with pytest.raises(AgentRefused) as refused:
        await engine.fetch({**answer["ticket"], "capability": "guess"})
    assert refused.value.reason == "WrongCapability"


async def test_an_answer_that_comes_too_late_is_undone(relay, engine):
    answer = await engine.reserve()
    fields = {"ticket": answer["ticket"], "box": [0, 2, 0, 2, 0, 2], "timeout_s": 5}
    with pytest.raises(AgentSlow):
        await asyncio.to_thread(engine.ranks[0].call, "fetch", fields, timeout_s=0.05)
    await engine.encode(answer)
    relay.drop(answer["ticket"]["ticket"], answer["ticket"]["capability"])
    await until(lambda: relay.pool.used_bytes == 0)


async def test_a_ticket_that_comes_too_late_is_cancelled(relay, engine, monkeypatch):
    fields = {"format": format_json(FORMAT), "binding": "b", "ranks": 1, "readers": 1}
    gave_up, reserve = asyncio.Event(), relay.reserve_soon

    async def late(*arguments, **options):
        await gave_up.wait()
        return await reserve(*arguments, **options)

    monkeypatch.setattr(relay, "reserve_soon", late)
    with pytest.raises(AgentSlow):
        await asyncio.to_thread(engine.scheduler.call, "reserve", fields, timeout_s=0.1)
    gave_up.set()
    await until(lambda: relay.health.kv.get("tickets_cancelled") == 1)
    assert relay.pool.used_bytes == 0


async def test_a_ticket_whose_scheduler_left_before_it_read_of_it_is_undone(relay, engine, monkeypatch):
    """The ranks stay, and would never hear that they have nothing to write."""
    answered, settle = threading.Event(), Session._settle

    def unread(session, answer):
        if "ticket" in answer:
            answered.set()
            raise ConnectionError("broken before it was read")
        settle(session, answer)

    taken = await engine.reserve()
    monkeypatch.setattr(Session, "_settle", unread)
    with pytest.raises(AgentGone):
        await engine.reserve()
    assert answered.is_set()
    await until(lambda: relay.health.kv.get("tickets_cancelled") == 1)
    assert relay.health.tickets == 1
    await engine.encode(taken)
    relay.drop(taken["ticket"]["ticket"], taken["ticket"]["capability"])
    assert relay.pool.used_bytes == 0


async def test_a_rank_that_came_back_before_its_old_connection_ended_is_there(door, engine):
    again = AgentDoor(door.path, owner="engine", rank=0)
    await asyncio.to_thread(again.open)
    await asyncio.sleep(0.05)
    engine.ranks[0].close()
    await asyncio.sleep(0.05)
    assert (await engine.reserve())["ok"]
    again.close()


async def test_a_ticket_with_another_format_than_it_was_made_for_is_refused(engine):
    answer = await engine.reserve()
    await engine.encode(answer)
    with pytest.raises(AgentRefused, match="not KvFormat"):
        await engine.fetch({**answer["ticket"], "codec": "raw"})


async def test_a_ticket_that_was_bound_to_another_prompt_on_its_way_opens_nothing(engine):
    answer = await engine.reserve()
    with pytest.raises(AgentRefused, match="other tokens"):
        await engine.fetch({**answer["ticket"], "binding": "another prompt"})


async def test_a_rank_that_came_back_fails_what_it_began_and_its_old_connection_ends_no_more(relay, door, engine):
    before = await engine.reserve()
    again = AgentDoor(door.path, owner="engine", rank=0)
    await asyncio.to_thread(again.open)
    await until(lambda: relay.health.kv.get("tickets_failed") == 1)
    after = await engine.reserve()
    await asyncio.to_thread(engine.ranks[0].close)
    await until(lambda: door.ranks._here["engine", 0] == 1)
    assert relay.health.kv["tickets_failed"] == 1
    engine.ranks[0] = again
    await engine.encode(after)
    assert (await engine.fetch(after["ticket"]))["ok"]
    with pytest.raises(AgentRefused, match="is gone"):
        await engine.fetch(before["ticket"])


async def test_tiles_that_another_engine_says_it_has_written_are_not_there(relay, door, engine):
    answer, other = await engine.reserve(), AgentDoor(door.path, owner="another", rank=0)
    await asyncio.to_thread(other.open)
    part = {"ticket": answer["ticket"]["ticket"], "box": [0, 2, 0, 2, 0, 1], "seconds": 0.1}
    progress = relay._tickets.find(answer["ticket"]["ticket"], answer["ticket"]["capability"]).progress
    await asyncio.to_thread(other.call, "encoded_part", part, timeout_s=2)
    assert not progress.begun
    await asyncio.to_thread(engine.ranks[0].call, "encoded_part", part, timeout_s=2)
    assert progress.begun
    other.close()


async def test_a_call_that_this_agent_does_not_know_is_answered_and_the_connection_goes_on(engine):
    door = engine.scheduler
    session = door.session()
    with pytest.raises(AgentRefused, match="knows no call 'teleport'"):
        await asyncio.to_thread(door.call, "teleport", {}, timeout_s=2)
    assert (await engine.reserve())["ok"]
    assert door.session() is session


async def test_notes_of_engines_are_counted(relay, engine):
    engine.scheduler.tell("note", {"what": "binding_mismatch"})
    await until(lambda: relay.health.kv.get("engine_binding_mismatch") == 1)


async def test_nonsense_ends_the_connection_and_nothing_else(engine, path):
    for message in (b"\xff" * 4, LENGTH.pack(2) + b"[]", LENGTH.pack(3) + b"{x}", LENGTH.pack(1 << 17)):
        reader, writer = await asyncio.open_unix_connection(path)
        await reader.readexactly(GREETING.size)
        writer.write(message)
        assert await reader.read() == b""
        writer.close()
    assert (await engine.reserve())["ok"]


async def test_a_call_that_waits_ends_at_once_when_the_agent_dies(door, engine):
    answer = await engine.reserve()
    fetching = asyncio.create_task(engine.fetch(answer["ticket"]))
    await asyncio.sleep(0.1)
    await door.close()
    async with asyncio.timeout(10):
        with pytest.raises(AgentGone):
            await fetching


async def test_engines_connect_anew_after_the_agent_has_restarted(door, engine):
    await door.close()
    again = Relay(agent_name="me.agent.thunder", advertise=("h", 1), pool_bytes=POOL, ssl_context=None)
    anew = LocalDoor(again, door.path)
    await anew.start()
    await until(lambda: anew.ranks.connected("engine", 1) and engine.scheduler._session.boot == again.boot)
    assert (await engine.reserve())["boot"] == again.boot
    await anew.close()
    await again.close()
