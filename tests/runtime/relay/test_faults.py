"""What becomes of transfers between two real agents when either of them, the wire, or a ticket fails.

After every fault both pools are empty, and the next transfer is as good as the first.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from planner.deployment import Codec
from runtime.relay.session import AgentRefused
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from tests.runtime.agents import (
    CALL_S,
    acknowledge,
    agent_pair,
    encoded,
    fetched,
    prompt,
    reserve,
    soon,
    tiles_of,
)
from tests.runtime.wire import after, cut, flip, stall, trickle

MIB = 1 << 20
SMALL = KvFormat(Geometry(4, 2, 64, "float16"), 200, Codec.INT4, boundary_layers=1)
LARGE = KvFormat(Geometry(32, 8, 128, "bfloat16"), 256, Codec.RAW)
"""32 MiB: more than the buffers of four streams hold."""
MIDDLE = KvFormat(Geometry(32, 8, 128, "bfloat16"), 64, Codec.RAW)
"""8 MiB: 128 pieces of the wire's."""
POOL = 80 * MIB


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with agent_pair(tmp_path_factory.mktemp("agents"), pool_bytes=POOL, ticket_ttl_s=600.0) as pair:
        yield pair


@pytest.fixture
def pair(running):
    """Whatever a test does to them, both work afterwards, and hold nothing."""
    yield running
    running.wire.mend()
    for agent in (running.source, running.target):
        if agent.process.poll() is not None:
            agent.start()
    ticket = prompt(running.source, SMALL)
    assert fetched(running.target, ticket) == tiles_of(ticket)
    acknowledge(running.target, ticket)
    assert soon(lambda: running.is_empty), (running.source.health, running.target.health)
    assert "Traceback" not in running.source.log + running.target.log


@pytest.fixture
def source(pair):
    return pair.source


@pytest.fixture
def target(pair):
    return pair.target


@pytest.fixture
def wire(pair):
    return pair.wire


def refused(target, ticket, **options):
    """Why the decode engine does not get its tiles."""
    with pytest.raises(AgentRefused) as error:
        fetched(target, ticket, **options)
    return error.value.reason


def test_a_sender_killed_before_the_transfer(source, target):
    ticket = prompt(source, SMALL)
    source.kill()
    assert refused(target, ticket) == "PeerUnreachable"
    assert target.is_empty


def test_a_sender_killed_in_the_middle_of_it(source, target, wire):
    ticket = prompt(source, LARGE)
    wire.break_after(MIB, after(source.kill))
    assert refused(target, ticket) == "PeerUnreachable"
    assert wire.happened.is_set()
    assert target.is_empty


def test_a_sender_killed_after_it(source, target):
    ticket, failed = prompt(source, SMALL), target.counted("acks_failed")
    assert fetched(target, ticket) == tiles_of(ticket)
    source.kill()
    acknowledge(target, ticket)
    assert target.counted("acks_failed") == failed + 1


def test_a_receiver_killed_in_the_middle_of_it_leaves_the_ticket_to_another(source, target, wire):
    ticket = prompt(source, LARGE)
    wire.break_after(MIB, stall, again=True)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetched, target, ticket, timeout_s=60.0)
        assert wire.happened.wait(10)
        target.kill()
        assert fetching.exception() is not None
    wire.mend()
    assert soon(lambda: source.counted("pulls_cut_off") > 0)
    assert source.health.tickets == 1
    target.start()
    assert fetched(target, ticket) == tiles_of(ticket)
    acknowledge(target, ticket)


def test_tiles_that_are_damaged_where_they_lie_are_never_taken(source, target):
    ticket = prompt(source, SMALL, sound=False)
    assert refused(target, ticket) == "PeerUnreachable"
    assert target.is_empty
    acknowledge(target, ticket)


@pytest.mark.parametrize("fault", [cut, flip])
def test_a_stream_that_is_cut_off_or_altered_once_is_resumed(source, target, wire, fault):
    ticket, again = prompt(source, LARGE), target.counted("tiles_pulled_twice")
    wire.break_after(MIB, fault)
    assert fetched(target, ticket) == tiles_of(ticket)
    assert wire.happened.is_set()
    assert target.counted("tiles_pulled_twice") > again
    acknowledge(target, ticket)


def test_a_slow_line_has_the_time_that_its_bytes_take(source, target, wire):
    """Far beyond the wait that tells a dead line, as long as something comes."""
    ticket, wait_s = prompt(source, MIDDLE), 1.0
    wire.break_after(0, trickle, again=True)
    began = time.monotonic()
    assert fetched(target, ticket, timeout_s=wait_s) == tiles_of(ticket)
    assert time.monotonic() - began > wait_s
    wire.mend()
    acknowledge(target, ticket)


def test_a_line_that_goes_dead_is_let_go_once_and_not_tried_again(source, target, wire):
    ticket, again, wait_s = prompt(source, LARGE), target.counted("tiles_pulled_twice"), 1.0
    wire.break_after(MIB, stall, again=True)
    assert refused(target, ticket, timeout_s=wait_s) == "PeerUnreachable"
    assert target.counted("tiles_pulled_twice") == again
    assert target.is_empty
    wire.mend()
    acknowledge(target, ticket)


def test_streams_that_are_always_cut_off_are_given_up(source, target, wire):
    ticket = prompt(source, LARGE)
    wire.break_after(MIB, cut, again=True)
    assert refused(target, ticket) == "PeerUnreachable"
    assert target.is_empty
    wire.mend()
    acknowledge(target, ticket)


def test_a_reader_that_takes_nothing_more_frees_both_pools_at_its_deadline(source, target, wire):
    ticket, cut_off = prompt(source, LARGE), source.counted("pulls_cut_off")
    wire.break_after(MIB, stall, again=True)
    assert refused(target, ticket, timeout_s=1.0) == "PeerUnreachable"
    assert target.is_empty
    source.door.call("cancel", {"ticket": ticket["ticket"]}, timeout_s=CALL_S)
    assert soon(lambda: source.is_empty)
    assert source.counted("pulls_cut_off") > cut_off


def test_a_ticket_is_read_once_by_each_reader_and_never_again(source, target):
    ticket = prompt(source, SMALL, readers=2)
    for _ in range(2):
        assert fetched(target, ticket) == tiles_of(ticket)
        acknowledge(target, ticket)
    assert refused(target, ticket) == "UnknownTicket"
    assert source.is_empty


def test_a_ticket_with_the_capability_of_another_prompt_is_refused(source, target):
    mine, other = prompt(source, SMALL), prompt(source, SMALL)
    assert refused(target, {**other, "capability": mine["capability"]}) == "WrongCapability"
    assert refused(target, {**other, "ticket": mine["ticket"]}) == "WrongCapability"
    assert refused(target, {**mine, "capability": "guess"}) == "WrongCapability"
    assert refused(target, {**other, "binding": "of another prompt"}) == "WrongBinding"
    for ticket in (mine, other):
        acknowledge(target, ticket)


@pytest.mark.parametrize("change", [{"tokens": 199}, {"layers": 5}, {"codec": "int8"}, {"boundary_layers": 0}])
def test_a_ticket_that_says_it_is_over_something_else_brings_no_tiles(source, target, change):
    ticket = prompt(source, SMALL)
    assert refused(target, {**ticket, **change}) in ("BadFrame", "PeerUnreachable")
    acknowledge(target, ticket)


def test_a_full_pool_means_no_ticket_until_there_is_room(source, target):
    tickets = [reserve(source, LARGE)["ticket"] for _ in range(2)]
    with pytest.raises(AgentRefused) as error:
        reserve(source, LARGE)
    assert error.value.reason == "PoolFull"
    for ticket in tickets:
        encoded(source, ticket)
        acknowledge(target, ticket)
    acknowledge(target, prompt(source, LARGE))


def test_a_full_pool_at_the_reader_fails_the_fetch_and_no_other(source, target):
    tickets = [prompt(source, LARGE, readers=2) for _ in range(2)]
    row = [0, 32, 0, 8, 0, 4]
    held = [
        target.door.call("fetch", {"ticket": ticket, "box": row, "timeout_s": 10.0}, timeout_s=CALL_S)
        for ticket in tickets
    ]
    third = prompt(source, SMALL)
    assert refused(target, {**tickets[0], "boundary_layers": 3}, timeout_s=0.3) == "PoolFull"
    assert fetched(target, third) == tiles_of(third)
    for answer in held:
        target.door.call("release", {"offset": answer["offset"]}, timeout_s=CALL_S)
    for ticket in (*tickets, *tickets, third):
        acknowledge(target, ticket)


def test_an_engine_that_dies_before_it_has_encoded_fails_its_ticket_and_frees_it(source, target):
    ticket = reserve(source, SMALL)["ticket"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(refused, target, ticket)
        source.door.close()
        assert waiting.result(20) == "TicketFailed"
    source.door = source.engine()
    acknowledge(target, ticket)


def test_an_engine_that_dies_while_it_reads_gives_its_tiles_back(source, target):
    ticket, other = prompt(source, SMALL), target.engine(rank=1)
    other.call("fetch", {"ticket": ticket, "box": [0, 4, 0, 2, 0, 4], "timeout_s": 5.0}, timeout_s=CALL_S)
    assert target.health.pool_used_bytes > 0
    other.close()
    assert soon(lambda: target.is_empty)
    acknowledge(target, ticket)


def test_a_ticket_expires_by_its_own_agents_clock_alone(tmp_path):
    """Days between the clocks change nothing; its time to live ends it, and frees the pool."""
    with agent_pair(tmp_path, (-86_400.0, 86_400.0), pool_bytes=POOL, ticket_ttl_s=3.0) as apart:
        ticket = prompt(apart.source, SMALL)
        assert fetched(apart.target, ticket) == tiles_of(ticket)
        assert soon(lambda: apart.is_empty)
        assert refused(apart.target, ticket) == "UnknownTicket"
        assert apart.source.counted("tickets_expired") == 1
