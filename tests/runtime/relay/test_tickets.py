"""The life of a ticket, with time as an argument."""

import contextlib

import pytest

from planner.deployment import Codec
from planner.errors import KvTransferError
from runtime.relay.pool import Region
from runtime.relay.ticket import AgentAddress, Ticket, UnknownTicket, WrongCapability
from runtime.relay.tickets import LONGEST_LIFE_S, State, TicketTable
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry

FORMAT = KvFormat(Geometry(8, 2, 64, "float16"), 100, Codec.INT4, boundary_layers=2)
ADDRESS = AgentAddress("10.0.0.7", 8443, "lease-1.agent.thunder")
REGION = Region(4096, 20000)


@pytest.fixture
def table():
    return TicketTable(ADDRESS, ttl_s=60)


def add(table, *, ranks=1, readers=1, now=0.0):
    return table.add(FORMAT, "b1nding", REGION, owner="engine", ranks=ranks, readers=readers, now=now)


def state(table, ticket):
    return table.find(ticket.ticket, ticket.capability).state


def test_a_ticket_is_ready_when_every_rank_has_encoded(table):
    ticket = add(table, ranks=2)
    assert not table.encoded(ticket.ticket, 1, now=1)
    assert state(table, ticket) is State.PENDING
    assert table.encoded(ticket.ticket, 0, now=1)
    assert state(table, ticket) is State.READY


def test_one_failing_rank_fails_the_ticket(table):
    ticket = add(table, ranks=2)
    assert table.fail(ticket.ticket, 0, "NaN")
    table.encoded(ticket.ticket, 1, now=1)
    entry = table.find(ticket.ticket, ticket.capability)
    assert (entry.state, entry.reason) == (State.FAILED, "NaN")


def test_a_failed_ticket_frees_its_bytes_when_nobody_writes_or_reads_them_and_still_says_why(table):
    ticket = add(table, ranks=2)
    entry = table.find(ticket.ticket, ticket.capability)
    table.fail(ticket.ticket, 0, "NaN")
    entry.pulls += 1
    assert table.collect() == []
    table.encoded(ticket.ticket, 1, now=1)
    assert (table.collect(), table.bytes) == ([], REGION.length)
    table.end_pull(entry, now=1)
    assert (table.collect(), table.bytes) == ([REGION], 0)
    assert table.find(ticket.ticket, ticket.capability).reason == "NaN"
    table.expire(now=100)
    assert table.collect() == []
    with pytest.raises(UnknownTicket):
        table.find(ticket.ticket, ticket.capability)


def test_its_bytes_are_freed_after_the_last_reader(table):
    ticket = add(table, readers=2)
    table.encoded(ticket.ticket, 0, now=1)
    assert not table.acknowledge(ticket.ticket, ticket.capability)
    assert table.collect() == []
    assert table.acknowledge(ticket.ticket, ticket.capability)
    assert table.collect() == [REGION]
    with pytest.raises(UnknownTicket):
        table.acknowledge(ticket.ticket, ticket.capability)


def test_its_bytes_stay_while_a_rank_may_write_them(table):
    ticket = add(table, ranks=2)
    table.encoded(ticket.ticket, 0, now=1)
    table.drop(ticket.ticket, ticket.capability)
    assert table.collect() == []
    table.encoded(ticket.ticket, 1, now=2)
    assert table.collect() == [REGION]


def test_its_bytes_stay_while_a_pull_reads_them(table):
    ticket = add(table)
    table.encoded(ticket.ticket, 0, now=1)
    entry = table.find(ticket.ticket, ticket.capability)
    entry.pulls += 1
    table.drop(ticket.ticket, ticket.capability)
    assert table.collect() == []
    table.end_pull(entry, now=2)
    assert table.collect() == [REGION]


def test_a_ticket_does_not_expire_while_it_is_read_and_has_its_time_again_afterwards(table):
    ticket = add(table, now=0)
    table.encoded(ticket.ticket, 0, now=1)
    entry = table.find(ticket.ticket, ticket.capability)
    entry.pulls += 1
    assert table.expire(now=1000) == 0
    table.end_pull(entry, now=1000)
    assert (table.expire(now=1059), table.expire(now=1060)) == (0, 1)


def test_a_ticket_expires_and_its_time_starts_again_when_it_is_ready(table):
    ticket = add(table, now=0)
    table.encoded(ticket.ticket, 0, now=50)
    assert table.expire(now=109) == 0
    assert len(table) == 1
    assert table.expire(now=110) == 1
    assert len(table) == 0
    with pytest.raises(UnknownTicket):
        table.find(ticket.ticket, ticket.capability)


def test_a_ticket_that_is_waited_for_lives_on_but_not_for_ever(table):
    waited_for, forgotten = add(table), add(table)
    for now in range(20, 2000, 20):
        with contextlib.suppress(UnknownTicket):
            table.renew(waited_for.ticket, waited_for.capability, now=now)
        table.expire(now=now)
        assert (len(table) == 2) == (now < 60)
        assert (len(table) >= 1) == (now < LONGEST_LIFE_S)
    with pytest.raises(UnknownTicket):
        table.find(forgotten.ticket, forgotten.capability)


def test_only_who_holds_a_ticket_renews_it(table):
    ticket = add(table)
    with pytest.raises(WrongCapability):
        table.renew(ticket.ticket, "guess", now=50)
    assert table.expire(now=60) == 1


def test_a_dead_rank_fails_what_it_had_not_encoded(table):
    done, waiting = add(table), add(table)
    table.encoded(done.ticket, 0, now=1)
    assert table.rank_gone("engine", 0) == 1
    assert (state(table, done), state(table, waiting)) == (State.READY, State.FAILED)


def test_another_engines_rank_has_no_say(table):
    ticket = add(table)
    assert table.rank_gone("another", 0) == 0
    assert not table.cancel(ticket.ticket, "another")
    assert state(table, ticket) is State.PENDING


def test_a_cancelled_ticket_is_freed_though_nobody_wrote_it(table):
    ticket = add(table, ranks=4)
    assert table.cancel(ticket.ticket, "engine")
    assert table.collect() == [REGION]


def test_a_ticket_is_not_found_without_its_capability(table):
    ticket = add(table)
    with pytest.raises(WrongCapability):
        table.find(ticket.ticket, "guess")


def test_a_ticket_reads_back_as_it_was_written(table):
    ticket = add(table)
    document = ticket.to_json()
    assert Ticket.from_json(document) == ticket
    assert document["do_remote_prefill"] is True
    assert document["bytes"] == ticket.bytes
    assert document["agent"] == {"host": "10.0.0.7", "port": 8443, "name": "lease-1.agent.thunder"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"ticket": "../../etc"},
        {"ticket": "zz" * 8},
        {"tokens": 10**12},
        {"tokens": True},
        {"layers": -1},
        {"codec": "local"},
        {"codec": "zip"},
        {"dtype": "object"},
        {"capability": ""},
        {"binding": None},
        {"agent": {"host": "h", "port": 1, "name": "router.thunder"}},
        {"agent": {"host": "h", "port": 70000, "name": "x.agent.thunder"}},
        {"agent": "h:1"},
        {"boundary_layers": 99},
    ],
)
def test_a_ticket_from_outside_is_not_believed(table, change):
    with pytest.raises(KvTransferError):
        Ticket.from_json({**add(table).to_json(), **change})


@pytest.mark.parametrize("counts", [{"ranks": 0}, {"readers": 0}, {"readers": 10**6}])
def test_counts_are_bounded(table, counts):
    with pytest.raises(KvTransferError):
        add(table, **counts)
