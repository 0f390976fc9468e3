"""Routes become lanes whose transfers, alone, take what the cost model says, and meet where the machines' wires do."""

from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.costmodel.transfer import kv_transfer_s
from planner.deployment import Codec, Instance, Route
from planner.lanes import Path, lanes_of
from planner.links import INSIDE
from planner.models import llm_named
from planner.orchestration.strands import Hop, Strand
from tests.planner.simulation.worlds import AT_ONCE, played, requests

LLM = llm_named("llama-3.1-8b")
HERE = Instance("i0", "o0", "vast", "Earth", "A6000", 2, 47.4, 2.0, inet_up_gbit_per_s=4.0, inet_down_gbit_per_s=8.0)
THERE = replace(HERE, id="i1")
PLACES = {"p": 0, "d": 1, "q": 2}


def path(source: Instance, target: Instance, link: Link | None, codec: Codec = Codec.RAW, prefill: str = "p") -> Path:
    hop = Hop(link, codec, (Strand(source, target, 1.0, link),)) if link else None
    return Path(Route(prefill, "d", 0.5, codec), hop)


def lane(*paths: Path):
    return lanes_of(LLM, paths, PLACES)[0]


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT8, Codec.INT4])
@pytest.mark.parametrize(("target", "link"), [(THERE, Link(4.0, 2.0)), (THERE, Link(1.0, 2.0)), (HERE, INSIDE)])
def test_a_transfer_alone_takes_what_the_cost_model_says(codec, target, link):
    made = lane(path(HERE, target, link, codec))
    wire_s = 1000 * made.wire_bytes_per_token / min(wire.bytes_per_s for wire in made.wires)
    took = made.latency_s + 2 * 1000 * made.packing_s_per_token + wire_s
    assert took == pytest.approx(kv_transfer_s(link, 1000.0, LLM, codec))


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT8, Codec.INT4])
@pytest.mark.parametrize(("target", "link"), [(THERE, Link(4.0, 300.0)), (THERE, Link(1.0, 2.0)), (HERE, INSIDE)])
def test_a_simulated_transfer_takes_what_the_cost_model_says(codec, target, link):
    what = requests((0.0, 1000, 1))
    found = played(what, [AT_ONCE] * 2, lane(path(HERE, target, link, codec)))
    assert found.first_s[0] == pytest.approx(kv_transfer_s(link, 1000.0, LLM, codec), abs=1e-6)


def test_a_local_route_moves_nothing():
    made = lane(path(HERE, HERE, None, Codec.LOCAL))
    assert (made.wires, made.wire_bytes_per_token, made.latency_s) == ((), 0.0, 0.0)


def test_between_instances_kv_takes_the_way_out_and_the_way_in():
    assert [(wire.name, wire.bytes_per_s) for wire in lane(path(HERE, THERE, Link(4.0, 2.0))).wires] == [
        ("i0 out", 0.5e9),
        ("i1 in", 1e9),
    ]


def test_a_link_narrower_than_both_is_a_wire_too():
    assert lane(path(HERE, THERE, Link(1.0, 2.0))).wires[2].bytes_per_s == 0.125e9


def test_a_link_that_was_measured_to_be_wider_than_an_offer_widens_its_ways():
    assert [wire.bytes_per_s for wire in lane(path(HERE, THERE, Link(10.0, 2.0))).wires] == [1.25e9, 1.25e9]


def test_inside_an_instance_each_pair_has_a_path_of_its_own():
    one, other = lanes_of(LLM, [path(HERE, HERE, INSIDE), path(HERE, HERE, INSIDE, prefill="q")], PLACES)
    assert {wire.name for wire in one.wires} & {wire.name for wire in other.wires} == set()
    assert one.wires[0].bytes_per_s == 8e9


def test_two_prefill_replicas_of_one_instance_share_its_way_out():
    paths = [path(HERE, THERE, Link(4.0, 2.0)), path(HERE, THERE, Link(4.0, 2.0), prefill="q")]
    one, other = lanes_of(LLM, paths, PLACES)
    assert one.wires == other.wires
    assert (one.prefill, other.prefill) == (0, 2)
