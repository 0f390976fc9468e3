"""Who is least busy is asked first, and short prompts are computed where they are decoded."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from runtime.messages import Routes, RouteShare
from runtime.router.choosing.affinity import Prompt
from runtime.router.choosing.bypass import Budget, Bypass, TokensPerByte
from runtime.router.choosing.load import Booking, Load
from runtime.router.choosing.policy import Choice, RoutePolicy
from tests.runtime.router.choosing.test_policy import EVERYONE, routes_of, up
from tests.runtime.routing import Clock

PAIRS = (RouteShare("p0", "d0", 0.5, Codec.INT4), RouteShare("p1", "d1", 0.5, Codec.INT4))
TOGETHER = tuple(RouteShare("p0", d, 0.5, Codec.INT4) for d in ("d0", "d1"))
places = st.sampled_from([None, "p0", "d0", "m0"])


@given(st.lists(st.tuples(st.integers(0, 3), places, places)), st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_bookings_that_have_ended_leave_nothing(moves, sizes):
    load = Load()
    bookings = [Booking(load, size) for size in sizes]
    for number, computing, decoding in moves:
        bookings[number].at(computing, decoding)
    assert all(count > 0 for counts in (load.prompt_bytes, load.requests) for count in counts.values())
    for booking in bookings:
        booking.end()
    assert (load.prompt_bytes, load.requests) == ({}, {})


def test_a_booking_waits_for_its_prompt_then_for_its_answer():
    load = Load()
    booking = Booking(load, 100)
    booking.at("p0", "d0")
    assert (load.prompt_bytes, load.requests) == ({"p0": 100}, {"p0": 1, "d0": 1})
    booking.computed()
    assert (load.prompt_bytes, load.requests) == ({}, {"d0": 1})


def test_a_prompt_computed_where_it_is_decoded_is_one_request_there():
    load = Load()
    Booking(load, 100).at("d0", "d0")
    assert (load.prompt_bytes, load.requests) == ({"d0": 100}, {"d0": 1})


def test_the_prefill_replica_with_less_to_compute_is_taken():
    load = Load()
    policy = RoutePolicy(routes_of(*PAIRS), load)
    Booking(load, 5000).at("p0", None)
    for _ in range(2):
        Booking(load, 100).at("p1", None)
    assert {policy.choose(up(EVERYONE)).prefill for _ in range(6)} == {"p1"}


def test_of_two_decode_replicas_the_one_with_fewer_requests_is_taken():
    load = Load()
    policy = RoutePolicy(routes_of(*TOGETHER), load)
    Booking(load, 100).at(None, "d0")
    assert {policy.choose(up(EVERYONE)).decode for _ in range(6)} == {"d1"}
    assert policy.other_decode(up(EVERYONE), "p0", frozenset({"p1"})) == "d1"


def test_a_replica_with_twice_the_share_is_as_busy_with_twice_as_much():
    load = Load()
    policy = RoutePolicy(routes_of(*(replace(TOGETHER[0], share=2 / 3), replace(TOGETHER[1], share=1 / 3))), load)
    for decode in ("d0", "d0", "d1"):
        Booking(load, 100).at(None, decode)
    assert [policy.choose(up(EVERYONE)).decode for _ in range(6)].count("d0") == 4


def short(below: int, rate: float, share: RouteShare = PAIRS[0]) -> Routes:
    """A route that lets prompts of fewer tokens be computed at d0, so many tokens/s of them."""
    made = routes_of(replace(share, local_below_tokens=below))
    replicas = tuple(replace(one, local_tokens_per_s=rate) if one.id == "d0" else one for one in made.replicas)
    return replace(made, replicas=replicas)


def text(tokens: int) -> Prompt:
    """A token every four bytes, as is believed before anything is learned."""
    return Prompt({"prompt": "abc " * tokens}, 4 * tokens)


def test_short_prompts_are_computed_where_they_are_decoded():
    policy = RoutePolicy(short(100, 1e6))
    assert policy.choose(up(EVERYONE), text(99)) == Choice(None, "d0", Codec.LOCAL, bypass=Bypass.LENGTH)
    assert policy.choose(up(EVERYONE), text(100)) == Choice("p0", "d0", Codec.INT4)
    assert policy.choose(up(EVERYONE), Prompt({"prompt": [7] * 99}, 1000)).prefill is None
    assert policy.choose(up(EVERYONE), Prompt({"prompt": [7] * 100}, 100)).prefill == "p0"


def test_a_request_of_which_nothing_is_known_takes_its_route():
    assert RoutePolicy(short(100, 1e6)).choose(up(EVERYONE)).prefill == "p0"


def test_what_is_left_of_a_conversation_is_computed_where_the_rest_lies():
    policy = RoutePolicy(short(200, 1e6))
    policy.computed(text(1024), policy.choose(up(EVERYONE), text(1024)).replicas)
    assert policy.choose(up(EVERYONE), text(1024 + 100)) == Choice(None, "d0", Codec.LOCAL, bypass=Bypass.PREFIX)
    assert policy.choose(up(EVERYONE), text(100)).bypass is Bypass.LENGTH


def test_a_prompt_that_many_send_at_once_is_computed_before_what_they_add_to_it_bypasses():
    policy = RoutePolicy(short(200, 1e6))
    burst = [text(1024 + more) for more in range(4)]
    assert {policy.choose(up(EVERYONE), one).prefill for one in burst} == {"p0"}
    policy.computed(burst[0], ["p0", "d0"])
    assert {policy.choose(up(EVERYONE), one).prefill for one in burst} == {None}


def test_of_token_ids_what_is_left_is_counted_as_it_is():
    policy, ids = RoutePolicy(short(200, 1e6)), [7] * 1024
    for _ in range(2000):
        policy.learn(text(1000), 250)
    assert policy.choose(up(EVERYONE), Prompt({"prompt": ids}, 9000)).prefill == "p0"
    policy.computed(Prompt({"prompt": ids}, 9000), ["p0", "d0"])
    assert policy.choose(up(EVERYONE), Prompt({"prompt": ids + [8] * 100}, 9000)).prefill is None


def test_a_decode_replica_computes_no_more_prompts_than_the_plan_allows():
    """100 tokens/s: at first what a second allows, and one that goes over it; then as the seconds pass."""
    clock = Clock()
    policy = RoutePolicy(short(100, 100.0), now=clock)

    def bypassed() -> int:
        taken = 0
        while policy.choose(up(EVERYONE), text(50)).prefill is None:
            taken += 1
        return taken

    assert bypassed() == 3
    counts = []
    for _ in range(10):
        clock.seconds += 1
        counts.append(bypassed())
    assert counts == [2] * 10


@pytest.mark.parametrize(("below", "rate"), [(0, 1e6), (100, 0.0)])
def test_without_a_length_or_a_rate_nothing_bypasses(below: int, rate: float):
    assert RoutePolicy(short(below, rate)).choose(up(EVERYONE), text(10)).prefill == "p0"


def test_a_bypass_gives_the_next_turn_no_prefill_replica_to_prefer():
    made = short(100, 1e6)
    policy = RoutePolicy(replace(made, routes=(made.routes[0], PAIRS[1])))
    policy.choose(up(EVERYONE), text(0))
    assert policy.choose(up(EVERYONE - {"p1"}), text(90)) == Choice(None, "d0", Codec.LOCAL, bypass=Bypass.LENGTH)


def test_tokens_per_byte_are_learned():
    tokens = TokensPerByte()
    assert tokens.of(400) == pytest.approx(100)
    for _ in range(2000):
        tokens.saw(1000, 500)
    assert tokens.of(400) == pytest.approx(200, rel=0.01)


def test_a_picture_teaches_nothing_about_text():
    tokens = TokensPerByte()
    for _ in range(100):
        tokens.saw(5_000_000, 1500)
    assert tokens.of(400) == pytest.approx(100)


def test_prompts_of_token_ids_teach_nothing_about_bytes():
    policy = RoutePolicy(short(100, 1e9))
    for _ in range(2000):
        policy.learn(Prompt({"prompt": [7] * 1000}, 10), 1000)
    assert policy.choose(up(EVERYONE), text(99)).prefill is None
    for _ in range(2000):
        policy.learn(text(1000), 2000)
    assert policy.choose(up(EVERYONE), text(99)).prefill == "p0"


@given(st.floats(1.0, 1e4), st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(1.0, 1e3)), max_size=60))
def test_a_budget_is_kept_to_within_a_second_and_one_prompt(rate: float, asked):
    clock = Clock(0.0)
    budget, spent, largest = Budget(rate, clock), 0.0, 0.0
    for pause, tokens in asked:
        clock.seconds += pause
        if budget.take(tokens):
            spent, largest = spent + tokens, max(largest, tokens)
        assert spent <= rate * (clock.seconds + 1.0) + largest + 1e-6
