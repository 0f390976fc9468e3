"""A conversation's next turn goes where its KV is, and what identifies a conversation costs no tokenizing."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.deployment import Codec
from planner.rotation import AHEAD
from runtime.messages import RouteShare
from runtime.router.choosing.affinity import BLOCK, BOUNDS, CHARACTERS_PER_TOKEN, PrefixTable, Prompt
from runtime.router.choosing.load import Booking, Load
from runtime.router.choosing.policy import RoutePolicy
from tests.runtime.router.choosing.test_policy import EVERYONE, routes_of, up

SQUARE = tuple(RouteShare(p, d, 0.25, Codec.INT4) for p in ("p0", "p1") for d in ("d0", "d1"))
QUESTION = "why " * BLOCK


def prompt(text: str, **words: object) -> Prompt:
    return Prompt({"prompt": text, **words}, len(text))


def said(*contents: object) -> Prompt:
    document = {"messages": [{"role": "user", "content": content} for content in contents]}
    return Prompt(document, sum(len(str(content)) for content in contents))


def shared(one: Prompt, other: Prompt) -> int:
    """Characters of the longest beginning that both are known to have."""
    known = dict(one.blocks())
    return max((known.get(hashed, 0) for hashed, _ in other.blocks()), default=0)


def test_blocks_are_an_eighth_of_what_lies_before_them():
    assert BOUNDS[0] == BLOCK
    assert all(BLOCK <= later - bound <= max(BLOCK, bound / 8) for bound, later in pairwise(BOUNDS))
    assert len(prompt("x" * 2**20).blocks()) < 64


@given(st.integers(0, 40_000), st.text(max_size=2000), st.text(max_size=2000))
def test_prompts_share_what_they_begin_with_to_within_a_block(length: int, one: str, other: str):
    beginning = "".join(chr(65 + i % 26) for i in range(length))
    found = shared(prompt(beginning + "!" + one), prompt(beginning + "?" + other))
    assert found <= length
    assert length - found < max(BLOCK, length / 8) + BLOCK


def test_the_next_turn_of_a_chat_begins_as_the_one_before():
    question, answer = "q" * 2000, "a" * 500
    assert shared(said(question), said(question, answer, "and then?")) == 1536
    assert shared(said(question), said("another " * 400)) == 0


def test_contents_in_parts_are_read_as_text():
    parts = [{"type": "text", "text": "q" * 600}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert shared(said(parts), said(parts, "more")) == BLOCK


def test_token_ids_are_hashed_as_they_are():
    ids = list(range(5 * BLOCK // CHARACTERS_PER_TOKEN))
    one, other = (Prompt({"prompt": [*ids, last]}, 9) for last in (1, 2))
    assert shared(one, other) == 5 * BLOCK


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"prompt": None},
        {"prompt": [[1, 2], [3]]},
        {"prompt": [1, *([[]] * 200)]},
        {"prompt": ["a" * 999, "b"]},
        {"messages": "no list"},
        {"messages": [None, 1, {"content": 5}, {"content": [1, {"text": 2}, None]}]},
        {"input": {"role": "user"}},
        {"prompt_cache_key": 7, "user": ["x"]},
    ],
)
def test_whatever_a_client_writes_has_blocks_or_none(document):
    assert len(Prompt(document, 10).blocks()) <= 1


@pytest.mark.parametrize("named", [{"prompt_cache_key": "c1"}, {"user": "c1"}])
def test_a_name_for_the_conversation_counts_as_one_block(named):
    assert shared(prompt("one", **named), prompt("two", **named)) == BLOCK
    assert shared(prompt("one", **named), prompt("two", user="c2")) == 0
    assert shared(Prompt({"prompt": "one"}, 3, session="c1"), prompt("two", **named)) == BLOCK


def test_a_table_forgets_what_was_met_longest_ago():
    table = PrefixTable(["d0"], kept=4)
    prompts = [prompt(f"{number} " * BLOCK) for number in range(5)]
    for one in prompts:
        table.note(one.blocks(), ["d0"])
    assert [bool(table.held(one.blocks())) for one in prompts] == [False, False, False, True, True]


def test_of_a_prompt_each_replica_holds_what_it_was_sent():
    table, question = PrefixTable(["p0", "d0"]), "q" * 2048
    table.note(prompt(question).blocks(), ["p0", "d0"])
    table.note(prompt(question + "a" * 2048).blocks(), ["d0"])
    assert table.held(prompt(question + "a" * 2048 + "more").blocks()) == {"d0": 4096, "p0": 2048}


def test_a_table_takes_over_what_is_known_of_replicas_that_stay():
    before, after = PrefixTable(["p0", "d0", "d1"]), PrefixTable(["d1", "m0", "p0"])
    one, other = prompt("q" * 2048), prompt("a" * 2048)
    before.note(one.blocks(), ["p0", "d0", "d1"])
    before.note(other.blocks(), ["d0"])
    after.inherit(before)
    assert after.held(one.blocks()) == {"p0": 2048, "d1": 2048}
    assert after.held(other.blocks()) == {}


def test_the_next_turn_goes_to_the_pair_that_has_its_kv():
    policy = RoutePolicy(routes_of(*SQUARE))
    first = policy.choose(up(EVERYONE), prompt(QUESTION))
    policy.choose(up(EVERYONE), prompt("someone else's " * BLOCK))
    assert policy.choose(up(EVERYONE), prompt(QUESTION + "and then?")) == first


def test_a_conversation_keeps_its_pair_until_that_is_ahead_of_its_share():
    """One client alone asks all the time: its pair may have so many more requests than its quarter of all, no more."""
    policy = RoutePolicy(routes_of(*SQUARE))
    taken = [policy.choose(up(EVERYONE), prompt(QUESTION + "!" * turn)) for turn in range(60)]
    kept = next(turn for turn, choice in enumerate(taken) if choice != taken[0])
    assert kept - kept / 4 <= AHEAD < kept + 1 - (kept + 1) / 4
    for turn in range(60):
        for pair in set(taken):
            assert taken[: turn + 1].count(pair) <= (turn + 1) / 4 + AHEAD


def test_a_conversation_leaves_its_pair_when_that_is_far_busier_than_others():
    load = Load()
    policy = RoutePolicy(routes_of(*SQUARE), load)
    first = policy.choose(up(EVERYONE), prompt(QUESTION))
    for _ in range(5):
        Booking(load, 4 * len(QUESTION)).at(first.prefill, first.decode)
    then = policy.choose(up(EVERYONE), prompt(QUESTION))
    assert then.prefill != first.prefill
    assert then.decode != first.decode


def test_a_mixed_replica_keeps_its_conversations_too():
    policy = RoutePolicy(routes_of(*(RouteShare(one, one, 0.5, Codec.LOCAL) for one in ("m0", "d0"))))
    first = policy.choose(up(EVERYONE), prompt(QUESTION))
    assert {policy.choose(up(EVERYONE), prompt(QUESTION + "!" * turn)) for turn in range(8)} == {first}


def test_a_replica_that_is_down_is_left_however_much_it_holds():
    policy = RoutePolicy(routes_of(*SQUARE))
    first = policy.choose(up(EVERYONE), prompt(QUESTION))
    assert policy.choose(up(EVERYONE - {first.decode}), prompt(QUESTION)).decode != first.decode


def test_affinity_for_a_prompt_of_2_kib_costs_about_10_us():
    """6 µs on an idle core of 2026; the bound leaves room for slower ones, and for whatever runs beside."""
    policy = RoutePolicy(routes_of(*SQUARE))
    prompts = [said(f"{number} " * 400) for number in range(2000)]
    costs = []
    for asked in ([Prompt()] * len(prompts), prompts):
        start = time.process_time()
        for one in asked:
            policy.choose(up(EVERYONE), one)
        costs.append((time.process_time() - start) / len(asked))
    assert costs[1] - costs[0] < 50e-6


def test_prompts_of_different_salts_share_no_kv():
    plain, salted = prompt(QUESTION), prompt(QUESTION, cache_salt="a")
    assert shared(salted, prompt(QUESTION + "why", cache_salt="a")) == shared(plain, prompt(QUESTION)) > 0
    assert shared(salted, plain) == shared(salted, prompt(QUESTION, cache_salt="b")) == 0
    named = [prompt("hi", user="alice", cache_salt=salt) for salt in ("a", "b")]
    assert shared(*named) == 0
    assert prompt("hi", cache_salt=["a"]).blocks() == prompt("hi").blocks()
