"""The KV of replicas that span instances goes from the instances that hold its layers to those that will."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import Link
from planner.costmodel.transfer import kv_transfer_s
from planner.deployment import Codec, Instance, Phase, Replica, Route, Stage
from planner.gpus import gpu_named
from planner.links import INSIDE, link_between
from planner.members import Member
from planner.models import llm_named
from planner.orchestration.strands import Strand, entering, leaving, link_along, planned_hop, shares, strands
from planner.parallel.shapes import GpuKind, Slot, layout_of

LLM = llm_named("llama-3.1-8b")
KIND = GpuKind(gpu_named("A40"), 44.0, nvlink=False)
USUAL = Instance("i0", "o0", "vast", "Earth", "A40", 4, 44.0, 2.0, inet_up_gbit_per_s=8.0, inet_down_gbit_per_s=8.0)
A, B, C, D = (replace(USUAL, id=name, offer_id=f"o-{name}", network="lan") for name in "abcd")
WHOLE = LLM.layers
HALF, QUARTER = WHOLE // 2, WHOLE // 4


def member(name: str, *held: tuple[Instance, int], phase: Phase = Phase.PREFILL) -> Member:
    """A replica with so many layers on each of these instances, one stage after the other."""
    instances = list({one.id: one for one, _ in held}.values())
    places = {one.id: i for i, one in enumerate(instances)}
    slots = tuple(Slot(KIND, places[one.id], layers) for one, layers in held)
    stages = tuple(Stage(one.id, (i,), layers) for i, (one, layers) in enumerate(held))
    return Member(Replica(name, phase, stages), instances[0], layout_of(LLM, 1, slots), tuple(instances[1:]))


def moved(*held: tuple[Instance, int], to: tuple[tuple[Instance, int], ...]) -> tuple[Strand, ...]:
    return strands(member("p", *held), member("d", *to, phase=Phase.DECODE), {})


def ends(found: tuple[Strand, ...]) -> dict[tuple[str, str], float]:
    return {(strand.source.id, strand.target.id): strand.share for strand in found}


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[Instance, int]]:
    """All layers over one to five stages, on any instances."""
    cuts = sorted(draw(st.sets(st.integers(1, WHOLE - 1), max_size=4)))
    layers = [b - a for a, b in zip([0, *cuts], [*cuts, WHOLE], strict=True)]
    return [(draw(st.sampled_from((A, B, C, D))), each) for each in layers]


@given(splits(), splits())
def test_shares_are_those_of_the_layers_counted_one_by_one(source, target):
    here, there = ([one.id for one, layers in held for _ in range(layers)] for held in (source, target))
    counted = Counter(zip(here, there, strict=True))
    found = {(a.id, b.id): share for a, b, share in shares(source, target)}
    assert found == pytest.approx({pair: layers / WHOLE for pair, layers in counted.items()})
    assert sum(found.values()) == pytest.approx(1.0)


@given(splits(), splits())
def test_strands_take_as_long_together_as_the_slowest_and_no_end_sends_more_than_it_can(source, target):
    found = moved(*source, to=tuple(target))
    rate = link_along(found, {}).bandwidth_gbit_per_s
    crossing = [strand for strand in found if strand.crosses]
    limits = [(strand.share, strand.link.bandwidth_gbit_per_s) for strand in found]
    limits += [(share, one.inet_up_gbit_per_s) for one, share in leaving(crossing)]
    limits += [(share, one.inet_down_gbit_per_s) for one, share in entering(crossing)]
    assert all(rate * share <= width * (1 + 1e-9) for share, width in limits)
    assert any(rate * share == pytest.approx(width) for share, width in limits)


def test_replicas_on_one_instance_each_have_one_strand_and_its_link():
    (strand,) = moved((A, HALF), (A, HALF), to=((B, WHOLE),))
    assert strand == Strand(A, B, 1.0, link_between(A, B, {}))
    assert link_along((strand,), {}) is strand.link


def test_within_one_instance_it_is_the_path_inside():
    assert link_along(moved((A, HALF), (A, HALF), to=((A, WHOLE),)), {}) is INSIDE


def test_equal_splits_over_the_same_two_instances_put_nothing_on_the_network():
    found = moved((A, HALF), (B, HALF), to=((A, HALF), (B, HALF)))
    assert ends(found) == {("a", "a"): 0.5, ("b", "b"): 0.5}
    link = link_along(found, {})
    assert (link.bandwidth_gbit_per_s, link.usd_per_gb) == (2 * INSIDE.bandwidth_gbit_per_s, 0.0)
    assert not link.estimated


def test_what_both_ends_hold_on_an_instance_stays_there():
    found = moved((A, HALF), (B, HALF), to=((A, WHOLE),))
    assert ends(found) == {("a", "a"): 0.5, ("b", "a"): 0.5}
    assert link_along(found, {}).bandwidth_gbit_per_s == pytest.approx(2 * 8.0)


def test_twice_the_share_that_crosses_takes_twice_as_long():
    half = link_along(moved((A, HALF), (B, HALF), to=((A, WHOLE),)), {})
    quarter = link_along(moved((A, HALF + QUARTER), (B, QUARTER), to=((A, WHOLE),)), {})
    wires = [replace(link, latency_ms=0.0, codec_gb_per_s=float("inf")) for link in (half, quarter)]
    took = [kv_transfer_s(link, 1e4, LLM, Codec.RAW) for link in wires]
    assert took[0] == pytest.approx(2 * took[1])


def test_two_instances_send_over_two_ways_out_at_once():
    one = link_along(moved((A, WHOLE), to=((C, HALF), (D, HALF))), {})
    two = link_along(moved((A, HALF), (B, HALF), to=((C, HALF), (D, HALF))), {})
    assert (one.bandwidth_gbit_per_s, two.bandwidth_gbit_per_s) == (8.0, 16.0)


def test_each_instance_packs_its_own_layers():
    slow = [replace(one, codec_gb_per_s=1.0) for one in (A, B, C)]
    alone = link_along(moved((slow[0], WHOLE), to=((slow[1], WHOLE),)), {})
    shared = link_along(moved((slow[0], HALF), (slow[1], HALF), to=((slow[2], WHOLE),)), {})
    assert 2 / alone.codec_gb_per_s == pytest.approx(2.0)
    assert 2 / shared.codec_gb_per_s == pytest.approx(1.5)


def test_bytes_cost_what_their_own_way_costs():
    far = replace(C, network="", egress_usd_per_gb=0.1, ingress_usd_per_gb=0.02)
    near, away = replace(A, egress_usd_per_gb=0.05), replace(B, egress_usd_per_gb=0.03)
    link = link_along(moved((near, HALF), (away, HALF), to=((near, HALF), (far, HALF))), {})
    assert link.usd_per_gb == pytest.approx(0.5 * (0.03 + 0.02))


def test_a_plans_route_is_as_wide_as_it_states():
    source, target = member("p", (A, HALF), (B, HALF)), member("d", (A, WHOLE), phase=Phase.DECODE)
    as_estimated = planned_hop(Route("p", "d", 1.0, Codec.RAW), source, target, {})
    stated = planned_hop(Route("p", "d", 1.0, Codec.RAW, 4.0), source, target, {})
    assert as_estimated is not None
    assert stated is not None
    assert stated.link == replace(as_estimated.link, bandwidth_gbit_per_s=4.0)
    assert [strand.link.bandwidth_gbit_per_s for strand in stated.strands] == [64.0, 8.0 * 4.0 / 16.0]
    assert (stated.crossing, stated.inside) == (0.5, 0.5)
    assert planned_hop(Route("d", "d", 1.0, Codec.LOCAL), target, target, {}) is None


def test_a_stated_link_is_that_of_the_strand_between_its_ends():
    found = strands(member("p", (A, HALF), (B, HALF)), member("d", (C, WHOLE)), {("o-a", "o-c"): Link(2.0, 9.0)})
    link = link_along(found, {("o-a", "o-c"): Link(2.0, 9.0)})
    assert (link.bandwidth_gbit_per_s, link.latency_ms) == (4.0, 9.0)
