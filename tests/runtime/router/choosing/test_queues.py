"""Requests that others sent to an engine count as load, as far as it says so again and again, and no further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.messages import RouteShare
from runtime.router.choosing.load import Booking, Load
from runtime.router.choosing.policy import RoutePolicy
from runtime.router.choosing.queues import BEATS_KEPT, Queue, Queues, read_queue
from tests.fakes import METRICS
from tests.runtime.router.choosing.test_policy import EVERYONE, routes_of, up
from tests.runtime.routing import Clock

EVERY_S = 2.0
PAIRS = tuple(RouteShare(p, d, 0.5, Codec.INT4) for p, d in (("p0", "d0"), ("p1", "d1")))
TOGETHER = tuple(RouteShare("p0", d, 0.5, Codec.INT4) for d in ("d0", "d1"))


def queues_of(load: Load) -> tuple[Queues, Clock]:
    clock = Clock()
    return Queues(load, EVERY_S, clock), clock


@pytest.mark.parametrize(
    ("metrics", "queue"),
    [
        (METRICS.encode(), Queue(2, 3)),
        (b"#\nvllm:num_requests_running 1.0\nvllm:num_requests_waiting 0.0\n", Queue(1, 0)),
        (b'#\nvllm:num_requests_waiting{model_name="a} {b"} 1e+06\nvllm:num_requests_running 7\n', Queue(7, 1000000)),
    ],
)
def test_running_and_waiting_requests_are_read(metrics: bytes, queue: Queue):
    assert read_queue(metrics) == queue


def test_the_ranks_of_an_engine_are_one_queue_and_reasons_to_wait_are_not_counted_again():
    lines = [
        f'vllm:num_requests_{what}{{engine="{rank}"}} {rank + 2}.0'
        for what in ("running", "waiting")
        for rank in (0, 1)
    ]
    lines.append('vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 2.0')
    assert read_queue("\n".join(["# HELP", *lines, ""]).encode()) == Queue(5, 5)


@pytest.mark.parametrize("missing", ["running 2.0", "waiting 3.0"])
@pytest.mark.parametrize("instead", ["", "running NaN", "waiting -1", "waiting +Inf", "running"])
def test_an_engine_that_does_not_say_both_says_nothing(missing: str, instead: str):
    lines = {"running 2.0", "waiting 3.0", instead} - {missing, ""}
    text = "".join(f"vllm:num_requests_{line}\n" for line in sorted(lines))
    assert read_queue(f"# HELP\n{text}".encode()) is None
    assert read_queue(b"\x00<html>") is None


def test_what_two_readings_in_a_row_have_beyond_ones_own_counts():
    load = Load()
    queues, clock = queues_of(load)
    seen = []
    for own, requests in ((2, 5), (1, 9), (4, 9), (4, 4), (9, 5), (0, 3), (0, 3)):
        queues.heard("d0", Queue(requests, 0), own)
        seen.append(load.beyond.get("d0", 0))
        clock.seconds += EVERY_S
    assert seen == [0, 3, 5, 0, 0, 0, 3]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 9), st.floats(0, 9)), max_size=30))
def test_never_more_counts_than_was_there_beyond_ones_own_and_nothing_of_old(said):
    load = Load()
    queues, clock = queues_of(load)
    last: dict[str, tuple[float, int]] = {}
    for name, requests, own, pause_s in said:
        queues.heard(name, Queue(requests, 0), own)
        last[name] = (clock.seconds, max(requests - own, 0))
        clock.seconds += pause_s
        queues.expire()
        for one, (at, most) in last.items():
            old = clock.seconds - at > BEATS_KEPT * EVERY_S
            assert 0 <= load.beyond.get(one, 0) <= (0 if old else most)
            assert (queues.of(one) is None) is old
        assert all(load.beyond.values()), "what is nothing leaves no trace"


def test_what_is_served_elsewhere_now_is_forgotten():
    load = Load()
    queues, _ = queues_of(load)
    for _ in range(2):
        for name in ("d0", "d1"):
            queues.heard(name, Queue(4, 4), 0)
    queues.keep({"d1"})
    assert (load.beyond, queues.of("d0"), queues.of("d1")) == ({"d1": 8}, None, Queue(4, 4))


def test_others_requests_count_as_ones_own_do():
    load = Load()
    policy = RoutePolicy(routes_of(*TOGETHER), load)
    load.beyond["d0"] = 2
    Booking(load, 100).at(None, "d1")
    assert {policy.choose(up(EVERYONE)).decode for _ in range(6)} == {"d1"}
    assert policy.other_decode(up(EVERYONE), "p0", frozenset()) == "d1"
    for _ in range(3):
        Booking(load, 100).at(None, "d1")
    assert {policy.choose(up(EVERYONE)).decode for _ in range(6)} == {"d0"}


def test_others_prompts_count_as_typical_ones():
    load = Load()
    policy = RoutePolicy(routes_of(*PAIRS), load)
    load.beyond["p0"] = 2
    Booking(load, 100).at("p1", None)
    assert {policy.choose(up(EVERYONE)).prefill for _ in range(6)} == {"p1"}


def test_where_a_replica_prefills_for_itself_others_requests_count_once():
    load = Load()
    both = [RouteShare(name, name, 0.5, Codec.LOCAL) for name in ("d0", "d1")]
    policy = RoutePolicy(routes_of(*both), load)
    load.beyond["d0"] = 3
    for _ in range(4):
        Booking(load, 100).at(None, "d1")
    assert {policy.choose(up(EVERYONE)).decode for _ in range(6)} == {"d0"}
