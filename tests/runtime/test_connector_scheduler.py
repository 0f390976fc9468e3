"""The connector's scheduler side against an agent that is a list of calls."""

from functools import partial
from types import SimpleNamespace

import pytest

from planner.deployment import Codec
from runtime.connector.recompute import TOKENS_PER_S
from runtime.connector.scheduler import SchedulerSide
from runtime.fingerprint import binding
from runtime.relay.ticket import AgentAddress, Ticket
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry

GEOMETRY = Geometry(8, 2, 64, "float16")
BIND = partial(binding, "model", GEOMETRY)
PROMPT = list(range(300))


class Agent:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def tell(self, name, fields):
        self.told.append((name, fields.get("what", "")))


@pytest.fixture
def clock():
    return SimpleNamespace(now=100.0)


@pytest.fixture
def agent():
    return Agent()


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
    side.finished(asked)
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
    side.finished(asked)
    assert agent.told == [("ack", "")]


def test_a_request_that_is_aborted_leaves_the_ticket_to_others(side, agent):
    asked = request(ticket(), status="FINISHED_ABORTED")
    side.arrived(asked)
    side.finished(asked)
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
    ],
)
def test_a_ticket_that_does_not_fit_is_never_loaded(side, agent, case, reason):
    side.arrived(case)
    assert side.matched(case, 0) == (0, False)
    side.allocated(case, [1], 0)
    assert agent.told == [("note", reason), ("note", "recomputed_tokens")]
    assert side.step().loads == []


@pytest.mark.parametrize("params", [ticket(), {"kv_lost": True}])
@pytest.mark.parametrize("change", [{"lora_request": "adapter"}, {"mm_features": ["picture"]}])
def test_a_prompt_whose_kv_could_never_come_waits_for_no_turn(side, agent, params, change):
    side.arrived(request({"kv_lost": True}, request_id="r0"))
    side.matched(request(request_id="r0"), 0)  # the turn before it is a long one
    asked = request(params, **change)
    side.arrived(asked)
    assert side.matched(asked, 0) == (0, False)
    side.allocated(asked, [1], 0)
    assert side.step().loads == []
    assert [name for name, what in agent.told if what == "recomputed_tokens"] == ["note"]


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
    side.finished(request(ticket(), request_id="r1", status="FINISHED_ABORTED"))
    asked = request(ticket(), request_id="r2")
    side.arrived(asked)
    side.allocated(asked, [5, 9, 2], side.matched(asked, 0)[0])
    side.finished(request(ticket(), request_id="r2", status="FINISHED_ABORTED"))
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
    assert side.finished(asked) is None
    assert agent.told == []
    assert side.step([("r1", 300, list)]).saves == []
