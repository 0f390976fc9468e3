"""The connector's scheduler side against an agent that is a list of calls."""

from functools import partial
from types import SimpleNamespace

import pytest

from planner.deployment import Codec
from runtime.connector.recompute import TOKENS_PER_S
from runtime.connector.scheduler import BACK_OFF_S, ROOM_S, SchedulerSide
from runtime.fingerprint import binding
from runtime.relay.door import AgentGone, AgentRefused, AgentSlow
from runtime.relay.tickets import AgentAddress, Ticket
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry

GEOMETRY = Geometry(8, 2, 64, "float16")
BIND = partial(binding, "model", GEOMETRY)
PROMPT = list(range(300))


class Agent:
    """Answers `reserve`, or raises `fault`; remembers what it was told."""

    def __init__(self, clock):
        self.told = []
        self.fault = None
        self.calls = 0
        self.full = False
        self.clock = clock

    def call(self, name, fields, *, timeout_s):
        assert (name, timeout_s) == ("reserve", 0.5)
        self.calls += 1
        if self.full:
            self.clock.now += fields["within_s"]
            raise AgentRefused("The pool is full.", "PoolFull")
        if self.fault is not None:
            raise self.fault
        self.asked = fields
        return {"ticket": {"ticket": "ab" * 8}, "offset": 4096, "boot": "boot"}

    def tell(self, name, fields):
        self.told.append((name, fields.get("what", "")))


@pytest.fixture
def clock():
    return SimpleNamespace(now=100.0)


@pytest.fixture
def agent(clock):
    return Agent(clock)


@pytest.fixture
def side(agent, clock):
    return SchedulerSide(
        agent, geometry=GEOMETRY, bind=BIND, block_size=128, ranks=2, boundary_layers=2, now=lambda: clock.now
    )


def request(params=None, prompt=PROMPT, status="FINISHED_LENGTH_CAPPED", **change):
    values = {
        "request_id": "r1",
        "kv_transfer_params": params,
        "prompt_token_ids": prompt,
        "num_prompt_tokens": len(prompt or []),
        "status": SimpleNamespace(name=status),
        "prompt_embeds": None,
        "mm_features": [],
        "lora_request": None,
        "resumable": False,
    }
    return SimpleNamespace(**{**values, **change})


def ticket(prompt=PROMPT, geometry=GEOMETRY, model="model"):
    kv_format = KvFormat(geometry, len(prompt), Codec.INT4, 2)
    address = AgentAddress("h", 1, "p.agent.thunder")
    return Ticket("ab" * 8, address, "secret", binding(model, geometry, prompt), kv_format).to_json()


DECODE = {"do_remote_decode": True, "codec": "int4", "readers": 2}


def test_a_finished_prompt_becomes_a_ticket_and_an_order_to_save(side, agent):
    held, params = side.finished(request(DECODE), [5, 9, 2, 7])
    assert (held, params) == (True, {"ticket": "ab" * 8, "remote_prefill_cached_tokens": 0})
    assert agent.asked["format"]["codec"] == "int4"
    assert agent.asked["format"]["boundary_layers"] == 2
    assert (agent.asked["ranks"], agent.asked["readers"], agent.asked["binding"]) == (2, 2, BIND(PROMPT))
    (save,) = side.step().saves
    assert (save.request_id, save.block_ids, save.offset, save.boot) == ("r1", (5, 9, 2), 4096, "boot")
    assert side.step().saves == []


@pytest.mark.parametrize("each_s", [0.001, 0.05, 0.5, 5.0])
def test_however_full_the_pool_an_engine_waits_for_room_but_a_tenth_of_its_time(side, agent, clock, each_s):
    """`each_s` passes between requests, in which the engine computes."""
    agent.full, began, computed_s = True, clock.now, 0.0
    while clock.now < began + 60:
        assert side.finished(request(DECODE), [1, 2, 3]) == (False, None)
        clock.now += each_s
        computed_s += each_s
    waited_s = clock.now - began - computed_s
    assert 0 < waited_s <= ROOM_S + 0.1 * (clock.now - began)
    assert agent.calls == pytest.approx(computed_s / each_s)


def test_boundary_layers_may_be_asked_for(side, agent):
    side.finished(request({**DECODE, "boundary_layers": 0}), [1, 2, 3])
    assert agent.asked["format"]["boundary_layers"] == 0


@pytest.mark.parametrize(
    "case",
    [
        request(None),
        request(DECODE, status="FINISHED_ABORTED"),
        request({**DECODE, "codec": "zip"}),
        request({**DECODE, "codec": "local"}),
        request({**DECODE, "readers": 0}),
        request({**DECODE, "boundary_layers": 99}),
        request(DECODE, mm_features=["image"]),
        request(DECODE, lora_request="adapter"),
        request(DECODE, prompt_embeds="tensor"),
    ],
)
def test_what_cannot_be_handed_on_gets_no_ticket_and_holds_no_blocks(side, agent, case):
    assert side.finished(case, [1, 2, 3]) == (False, None)
    assert (agent.calls, side.step().saves) == (0, [])


def test_missing_blocks_mean_no_ticket(side, agent):
    assert side.finished(request(DECODE), [1, 2]) == (False, None)
    assert agent.calls == 0


@pytest.mark.parametrize("fault", [AgentGone("gone"), AgentRefused("full", "PoolFull")])
def test_an_agent_that_cannot_means_no_ticket(side, agent, fault):
    agent.fault = fault
    assert side.finished(request(DECODE), [1, 2, 3]) == (False, None)
    agent.fault = None
    assert side.finished(request(DECODE), [1, 2, 3])[0]


def test_an_agent_that_is_slow_is_left_alone_for_a_while(side, agent, clock):
    agent.fault = AgentSlow("slow")
    side.finished(request(DECODE), [1, 2, 3])
    agent.fault = None
    assert side.finished(request(DECODE), [1, 2, 3]) == (False, None)
    assert agent.calls == 1
    clock.now += BACK_OFF_S
    assert side.finished(request(DECODE), [1, 2, 3])[0]


def test_a_ticket_over_the_same_tokens_is_loaded_once_and_acknowledged(side, agent):
    asked = request(ticket())
    side.arrived(asked)
    assert side.matched(asked, 0) == side.matched(asked, 0) == (300, True)
    side.allocated(asked, [5, 9, 2], 300)
    assert side.matched(asked, 0) == (0, False)
    (load,) = side.step().loads
    assert (load.request_id, load.block_ids, load.first_token) == ("r1", (5, 9, 2), 0)
    side.allocated(asked, [5, 9, 2], 0)
    assert side.step().loads == []
    side.received(["r1", "another"])
    side.finished(asked, [5, 9, 2])
    assert agent.told == [("ack", "")]


def test_only_what_a_local_prefix_lacks_is_loaded(side):
    asked = request(ticket())
    side.arrived(asked)
    assert side.matched(asked, 256) == (44, True)
    side.allocated(asked, [5, 9, 2, 11], 44)
    (load,) = side.step().loads
    assert (load.first_token, load.block_ids) == (256, (5, 9, 2))


def test_a_prompt_that_is_all_here_loads_nothing_and_acknowledges_when_it_ends(side, agent):
    asked = request(ticket())
    side.arrived(asked)
    assert side.matched(asked, 300) == (0, False)
    side.finished(asked, [1])
    assert agent.told == [("ack", "")]


def test_a_request_that_is_aborted_leaves_the_ticket_to_others(side, agent):
    asked = request(ticket(), status="FINISHED_ABORTED")
    side.arrived(asked)
    side.finished(asked, [])
    assert agent.told == []


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (request(ticket([*PROMPT[:-1], 7])), "binding_mismatch"),
        (request(ticket(PROMPT[:-1])), "binding_mismatch"),
        (request(ticket(model="fine-tune")), "binding_mismatch"),
        (request(ticket(geometry=Geometry(8, 2, 64, "bfloat16"))), "geometry_mismatch"),
        (request({**ticket(), "version": 9}), "unreadable_ticket"),
        (request({"kv_lost": True}), "no_ticket"),
        (request({**ticket(), "tokens": "many"}), "unreadable_ticket"),
        (request(ticket(), lora_request="adapter"), "not_plain_tokens"),
        (request(ticket(), prompt=None), "not_plain_tokens"),
    ],
)
def test_a_ticket_that_does_not_fit_is_never_loaded(side, agent, case, reason):
    side.arrived(case)
    assert side.matched(case, 0) == (0, False)
    side.allocated(case, [1], 0)
    assert agent.told == [("note", reason), ("note", "recomputed_tokens")]
    assert side.step().loads == []


def failing(side, name):
    """A request whose load has failed."""
    asked = request(ticket(), request_id=name)
    side.arrived(asked)
    side.allocated(asked, [5, 9, 2], side.matched(asked, 0)[0])
    side.received([name], {name})
    return asked


def test_prompts_whose_kv_did_not_come_are_computed_in_turns(side, clock):
    first, second = failing(side, "r1"), failing(side, "r2")
    assert side.matched(first, 0) == (0, False)
    assert side.matched(second, 0) == (None, False)
    side.allocated(first, [5, 9, 2], 0)
    assert side.step().waits
    clock.now += len(PROMPT) / TOKENS_PER_S
    assert side.matched(second, 0) == (0, False)
    side.allocated(second, [1, 3, 4], 0)
    assert not side.step().waits


def test_prompts_that_no_ticket_was_given_for_wait_behind_those_whose_kv_did_not_come(side):
    first, second = failing(side, "r1"), request({"kv_lost": True}, request_id="r2")
    side.arrived(second)
    assert side.matched(first, 0) == (0, False)
    assert side.matched(second, 0) == (None, False)


def test_only_what_must_be_computed_counts(side, clock):
    first, second = failing(side, "r1"), failing(side, "r2")
    assert side.matched(first, 256) == (0, False)
    side.matched(second, 0)
    clock.now += (len(PROMPT) - 256) / TOKENS_PER_S
    assert side.matched(second, 0) == (0, False)


def test_a_failed_load_leaves_the_ticket_to_others_until_it_is_computed_here(side, agent):
    asked = failing(side, "r1")
    side.matched(asked, 0)
    assert ("ack", "") not in agent.told
    side.allocated(asked, [5, 9, 2], 0)
    assert agent.told[-1] == ("ack", "")


def test_a_request_that_goes_away_while_it_loads_or_waits_leaves_nothing(side, agent):
    waits = failing(side, "r1")
    side.finished(request(ticket(), request_id="r1", status="FINISHED_ABORTED"), [])
    asked = request(ticket(), request_id="r2")
    side.arrived(asked)
    side.allocated(asked, [5, 9, 2], side.matched(asked, 0)[0])
    side.finished(request(ticket(), request_id="r2", status="FINISHED_ABORTED"), [])
    side.received(["r2"], {"r2"})
    assert (side.matched(waits, 0), side.matched(asked, 0)) == ((0, False), (0, False))
    assert not side.step().waits
    assert agent.told == []


def test_a_preempted_request_whose_kv_had_come_is_computed_at_once(side, agent):
    """Its blocks were taken from it: that is no fault of a link."""
    asked = request(ticket())
    side.arrived(asked)
    side.allocated(asked, [5, 9, 2], side.matched(asked, 0)[0])
    side.received(["r1"])
    side.allocated(asked, [5, 9, 2], 0)
    failing(side, "r2")
    assert side.matched(asked, 0) == (0, False)
    assert agent.told == [("ack", "")]


def test_ordinary_requests_pass_untouched(side, agent):
    asked = request(None)
    side.arrived(asked)
    assert side.matched(asked, 0) == (0, False)
    side.allocated(asked, [1], 0)
    assert side.finished(asked, [1]) == (False, None)
    assert (agent.told, agent.calls) == ([], 0)


def test_the_ticket_says_how_much_prefill_had_cached(side):
    asked = request(DECODE)
    side.arrived(asked)
    side.matched(asked, 128)
    _, params = side.finished(asked, [1, 2, 3])
    assert params["remote_prefill_cached_tokens"] == 128
