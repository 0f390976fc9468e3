"""What an agent knows of its ways from others: from what arrives, and from rare probes when nothing does."""

import pytest

from runtime.messages import AgentHealth
from runtime.relay.links import FORGET_AFTER_S, LEAST_BYTES, LIMIT_LINKS, PROBE_AFTER_S, LinkMeter
from runtime.relay.ticket import AgentAddress

PEER = AgentAddress("h", 1, "p.agent.thunder")
GIGABIT_BYTES = 125_000_000


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock):
    return LinkMeter(clock)


def arrive(meter, clock, size, seconds, **how):
    with meter.arriving(PEER, size, **how):
        clock.now += seconds


def test_bandwidth_is_what_arrived_by_the_time_it_took(meter, clock):
    for seconds in (1.0, 2.0, 40.0):
        arrive(meter, clock, GIGABIT_BYTES, seconds)
    assert meter.health[0].bandwidth_gbit_per_s == pytest.approx(0.5)


def test_streams_at_the_same_time_count_together(meter, clock):
    with meter.arriving(PEER, GIGABIT_BYTES), meter.arriving(PEER, GIGABIT_BYTES):
        clock.now += 1.0
    assert meter.health[0].bandwidth_gbit_per_s == pytest.approx(2.0)


def test_all_that_came_is_counted_from_when_the_counting_began(meter, clock):
    clock.now = 3.0
    for size in (10, LEAST_BYTES):
        arrive(meter, clock, size, 1.0, probe=True)
    with pytest.raises(ConnectionError), meter.arriving(PEER, GIGABIT_BYTES):
        raise ConnectionError
    assert (meter.health[0].bytes, meter.health[0].counter) == (LEAST_BYTES + 10, 3.0)


def test_little_or_broken_off_says_nothing_about_bandwidth(meter, clock):
    arrive(meter, clock, LEAST_BYTES - 1, 1.0)
    with pytest.raises(ConnectionError), meter.arriving(PEER, GIGABIT_BYTES):
        raise ConnectionError
    assert meter.health[0].bandwidth_gbit_per_s is None


def test_latency_is_half_the_shortest_round_trip(meter, clock):
    for seconds in (0.05, 0.02, 0.9):
        with meter.round_trip(PEER):
            clock.now += seconds
    assert meter.health[0].latency_ms == pytest.approx(10.0)


def test_a_way_is_probed_when_new_and_then_only_after_minutes_of_silence(meter, clock):
    arrive(meter, clock, GIGABIT_BYTES, 1.0)
    assert meter.due() == [PEER]
    with meter.round_trip(PEER):
        clock.now += 0.01
    assert meter.due() == []
    clock.now += PROBE_AFTER_S
    assert meter.due() == [PEER]
    with meter.arriving(PEER, GIGABIT_BYTES):
        assert meter.due() == []


def test_probes_alone_do_not_keep_a_way_probed(meter, clock):
    arrive(meter, clock, GIGABIT_BYTES, 1.0)
    clock.now += FORGET_AFTER_S
    arrive(meter, clock, LEAST_BYTES, 0.1, probe=True)
    clock.now += PROBE_AFTER_S
    assert meter.due() == []


def test_the_agents_remembered_are_the_last_ones(meter, clock):
    for number in range(LIMIT_LINKS + 3):
        clock.now += 1.0
        with meter.arriving(AgentAddress("h", 1, f"{number:03}.agent.thunder"), 1):
            pass
    assert [link.peer[:3] for link in meter.health] == [f"{number:03}" for number in range(3, LIMIT_LINKS + 3)]


def test_links_are_read_back_from_an_agents_health(meter, clock):
    arrive(meter, clock, GIGABIT_BYTES, 1.0)
    health = AgentHealth("i", "1", links=meter.health)
    assert AgentHealth.from_json(health.to_json()) == health
