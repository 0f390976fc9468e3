"""Prompts that are handed on, against an agent that is a list of calls."""

from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.connector.handing import BACK_OFF_S, ROOM_S, HandingOn
from runtime.fingerprint import binding
from runtime.relay.session import AgentGone, AgentRefused, AgentSlow
from runtime.tiles.geometry import Geometry

GEOMETRY = Geometry(8, 2, 64, "float16")
BIND = partial(binding, "model", GEOMETRY)
PROMPT = list(range(300))
BLOCKS = [5, 9, 2]
DECODE = {"do_remote_decode": True, "codec": "int4", "readers": 2}
STREAM = {**DECODE, "stream": True}
NAME = "ab" * 8


class Agent:
    """Answers `reserve`, or raises `fault`."""

    def __init__(self):
        self.notes = []
        self.fault = None
        self.calls = 0
        self.full_for = None

    def call(self, name, fields, *, timeout_s):
        assert (name, timeout_s) == ("reserve", 0.5)
        self.calls += 1
        if self.full_for is not None:
            self.full_for(fields["within_s"])
            raise AgentRefused("The pool is full.", "PoolFull")
        if self.fault is not None:
            raise self.fault
        self.asked = fields
        return {"ticket": {"ticket": NAME}, "offset": 4096, "boot": "boot"}

    def tell(self, name, fields):
        self.notes.append((name, fields["what"]))


@pytest.fixture
def agent():
    return Agent()


@pytest.fixture
def clock():
    return SimpleNamespace(now=100.0)


def handing_on(agent, clock=None, block_size=128):
    now = (lambda: clock.now) if clock else (lambda: 0.0)
    shape = {"block_size": block_size, "ranks": 2, "boundary_layers": 2}
    return HandingOn(agent, geometry=GEOMETRY, bind=BIND, now=now, **shape)


@pytest.fixture
def handing(agent, clock):
    return handing_on(agent, clock)


def request(params=None, prompt=PROMPT, **change):
    values = {
        "request_id": "r1",
        "kv_transfer_params": params,
        "prompt_token_ids": prompt,
        "num_prompt_tokens": len(prompt or []),
        "prompt_embeds": None,
        "mm_features": [],
        "lora_request": None,
        "resumable": False,
    }
    return SimpleNamespace(**{**values, **change})


def computed(handing, tokens, blocks=BLOCKS, request_id="r1"):
    return handing.computed(request_id, tokens, lambda: blocks)


def test_the_step_that_completes_a_prompt_orders_all_of_it_and_the_answer_has_the_ticket(handing, agent):
    handing.arrived(request(DECODE))
    handing.found("r1", 128)
    assert computed(handing, 256) is None
    assert agent.calls == 0
    save = computed(handing, 300, [5, 9, 2, 7])
    assert (save.ticket, save.groups, save.block_ids, save.first_token) == (NAME, (0, 5), (5, 9, 2), 0)
    assert (save.offset, save.boot, save.by_layer, save.last) == (4096, "boot", False, True)
    assert agent.asked["format"] | {"codec": "int4", "boundary_layers": 2, "tokens": 300} == agent.asked["format"]
    assert (agent.asked["ranks"], agent.asked["readers"], agent.asked["binding"]) == (2, 2, BIND(PROMPT))
    assert "request" not in agent.asked  # who asked for no stream is told nothing before the end
    assert handing.finished("r1", well=True) == {"ticket": NAME, "remote_prefill_cached_tokens": 128}
    assert handing.abandoned() == []


def test_a_stream_has_its_ticket_with_the_first_step_and_orders_what_each_one_completes(handing, agent):
    handing.arrived(request(STREAM))
    handing.found("r1", 32)
    assert computed(handing, 50) is None  # no group is complete
    assert (agent.asked["request"], agent.asked["cached"]) == ("r1", 32)
    saves = [computed(handing, tokens) for tokens in (200, 250, 290, 300, 301)]
    assert [save and save.groups for save in saves] == [(0, 3), None, (3, 4), (4, 5), None]
    assert [save.block_ids for save in saves if save] == [(5, 9), (9,), (2,)]
    assert [save.first_token for save in saves if save] == [0, 128, 256]
    assert [save.last for save in saves if save] == [False, False, True]
    assert all(save.by_layer for save in saves if save)
    assert agent.calls == 1
    assert handing.finished("r1", well=True)["ticket"] == NAME


def test_a_preempted_stream_goes_on_where_it_was(handing):
    handing.arrived(request(STREAM))
    assert computed(handing, 200).groups == (0, 3)
    assert computed(handing, 128) is None  # again from the start, in other blocks
    assert computed(handing, 300, [8, 3, 4]).block_ids == (3, 4)


@given(st.integers(1, 700), st.sampled_from([16, 64, 96, 128]), st.lists(st.integers(1, 400), max_size=8))
def test_every_group_is_ordered_once_with_blocks_that_hold_it(tokens, block_size, steps):
    handing = handing_on(Agent(), block_size=block_size)
    handing.arrived(request(STREAM, prompt=list(range(tokens))))
    blocks = list(range(-(-tokens // block_size)))
    ordered, reached = [], 0
    for step in [*steps, tokens]:
        reached = min(tokens, reached + step)
        if save := computed(handing, reached, blocks):
            ordered += range(*save.groups)
            held = range(save.first_token, save.first_token + len(save.block_ids) * block_size)
            assert save.block_ids[0] * block_size == save.first_token
            assert save.groups[0] * 64 in held
            assert min(save.groups[1] * 64, tokens) - 1 in held
    assert ordered == list(range(-(-tokens // 64)))


@pytest.mark.parametrize("params", [DECODE, STREAM])
def test_a_request_that_ends_early_gets_no_ticket_and_ranks_stop_writing(handing, params):
    handing.arrived(request(params))
    reserved = computed(handing, 200) is not None
    assert handing.finished("r1", well=False) is None
    assert handing.abandoned() == ([NAME] if reserved else [])
    assert handing.abandoned() == []
    assert computed(handing, 300) is None


def test_a_stream_that_ends_well_before_its_prompt_was_computed_gets_no_ticket(handing):
    handing.arrived(request(STREAM))
    computed(handing, 200)
    assert handing.finished("r1", well=True) is None
    assert handing.abandoned() == [NAME]


def test_boundary_layers_may_be_asked_for(handing, agent):
    handing.arrived(request({**DECODE, "boundary_layers": 0}))
    computed(handing, 300)
    assert agent.asked["format"]["boundary_layers"] == 0


@pytest.mark.parametrize(
    "case",
    [
        request(None),
        request({**DECODE, "codec": "zip"}),
        request({**DECODE, "codec": "local"}),
        request({**DECODE, "readers": 0}),
        request({**DECODE, "boundary_layers": 99}),
        request(DECODE, mm_features=["image"]),
        request(DECODE, lora_request="adapter"),
        request(DECODE, prompt_embeds="tensor"),
    ],
)
def test_what_cannot_be_handed_on_gets_no_ticket(handing, agent, case):
    handing.arrived(case)
    assert computed(handing, 300) is None
    assert handing.finished("r1", well=True) is None
    assert (agent.calls, handing.abandoned()) == (0, [])
    assert agent.notes == ([("note", "not_handed_on")] if case.kv_transfer_params else [])


def test_missing_blocks_mean_no_ticket(handing):
    handing.arrived(request(STREAM))
    assert computed(handing, 300, [1, 2]) is None
    assert handing.finished("r1", well=True) is None
    assert handing.abandoned() == [NAME]


FULL = AgentRefused("full", "PoolFull")


@pytest.mark.parametrize("fault", [FULL, AgentSlow("slow")])
def test_a_stream_that_finds_no_room_at_first_is_ordered_whole_by_the_step_that_completes_it(
    handing, agent, clock, fault
):
    agent.fault = fault
    handing.arrived(request(STREAM))
    assert computed(handing, 100) is None
    agent.fault = None
    clock.now += BACK_OFF_S
    assert computed(handing, 200) is None
    save = computed(handing, 300)
    assert (save.groups, save.block_ids, save.by_layer) == ((0, 5), (5, 9, 2), False)
    assert "request" not in agent.asked
    assert handing.finished("r1", well=True)["ticket"] == NAME


def test_a_stream_that_begins_while_the_agent_is_left_alone_is_ordered_whole_too(handing, agent, clock):
    agent.fault = AgentSlow("slow")
    handing.arrived(request(DECODE, request_id="r0"))
    computed(handing, 300, request_id="r0")
    agent.fault = None
    handing.arrived(request(STREAM))
    assert computed(handing, 100) is None
    clock.now += BACK_OFF_S
    assert computed(handing, 300).groups == (0, 5)


def test_a_pool_that_is_still_full_when_the_prompt_is_complete_means_no_ticket(handing, agent):
    agent.fault = FULL
    handing.arrived(request(STREAM))
    assert [computed(handing, tokens) for tokens in (100, 200, 300)] == [None] * 3
    agent.fault = None
    assert computed(handing, 300) is None
    assert handing.finished("r1", well=True) is None
    assert agent.calls == 2


@pytest.mark.parametrize("fault", [AgentGone("gone"), AgentRefused("Not all ranks", "KvTransferError")])
def test_an_agent_that_cannot_means_no_ticket(handing, agent, fault):
    agent.fault = fault
    handing.arrived(request(STREAM))
    assert computed(handing, 100) is None
    agent.fault = None
    assert computed(handing, 300) is None  # it is not asked again for the same prompt
    assert handing.finished("r1", well=True) is None
    handing.arrived(request(STREAM, request_id="r2"))
    assert computed(handing, 300, request_id="r2")


def test_an_agent_that_is_slow_is_left_alone_for_a_while(handing, agent, clock):
    agent.fault = AgentSlow("slow")
    for name in ("r1", "r2", "r3"):
        handing.arrived(request(DECODE, request_id=name))
    computed(handing, 300)
    agent.fault = None
    assert computed(handing, 300, request_id="r2") is None
    assert agent.calls == 1
    clock.now += BACK_OFF_S
    assert computed(handing, 300, request_id="r3")


@pytest.mark.parametrize("each_s", [0.001, 0.05, 0.5, 5.0])
def test_however_full_the_pool_an_engine_waits_for_room_but_a_tenth_of_its_time(handing, agent, clock, each_s):
    """`each_s` passes between requests, in which the engine computes."""

    def passes(seconds):
        clock.now += seconds

    agent.full_for, began, computed_s = passes, clock.now, 0.0
    while clock.now < began + 15:
        handing.arrived(request(DECODE))
        assert computed(handing, 300) is None
        passes(each_s)
        computed_s += each_s
    waited_s = clock.now - began - computed_s
    assert 0 < waited_s <= ROOM_S + 0.1 * (clock.now - began)
    assert agent.calls == pytest.approx(computed_s / each_s)
