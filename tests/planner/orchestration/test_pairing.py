from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog import Link
from planner.demand import demand_of
from planner.deployment import Codec, Instance, Phase, Replica, Route, Stage
from planner.gpus import gpu_named
from planner.lanes import Path, lanes_of
from planner.links import INSIDE, USABLE
from planner.members import Member
from planner.models import llm_named
from planner.orchestration.pairing import pair, transport_of
from planner.parallel.layouts import Capacities, GpuKind, Share, Slot, Task, best_codec
from planner.parallel.shapes import layout_of
from planner.procurement.placing import instance_of, replica_of
from planner.traces import workload_named
from planner.workload import Slo

TASK = Task(llm_named("qwen3-8b"), demand_of(workload_named("conversation"), 8192), Slo(), 8192)
KIND = GpuKind(gpu_named("A100-SXM4-40GB"), 39.4, nvlink=False)


@pytest.fixture
def member(offer):
    """A replica on one card of its own instance, or of a given one."""

    def make(name: str, phase: Phase, instance: str = "", **fields: object) -> Member:
        (layout,) = capacities().layouts((Share(KIND, 1),))
        machine = instance_of(offer(f"o-{instance or name}", "A100-SXM4-40GB", **fields), instance or name, TASK.llm)
        return Member(replica_of(name, phase, [machine.id], [0], layout), machine, layout)

    return make


def capacities() -> Capacities:
    return Capacities(TASK)


def test_the_codec_is_raw_where_the_link_is_free_and_fast():
    assert best_codec(TASK, INSIDE) is Codec.RAW
    assert best_codec(TASK, Link(25.0, 1.0)) is Codec.RAW


def test_the_codec_packs_where_the_link_is_slow_or_bills_by_the_gigabyte():
    assert best_codec(TASK, Link(1.0, 1.0)) is Codec.INT4
    assert best_codec(TASK, Link(25.0, 1.0, usd_per_gb=0.01)) is Codec.INT4


def test_replicas_of_one_instance_hand_over_raw_and_for_nothing(member):
    members = [member("p", Phase.PREFILL, "i0"), member("d", Phase.DECODE, "i0")]
    found = pair(capacities(), members, transfer_usd_per_hour=0.0, links={})
    assert found is not None
    (route,) = found.routes
    assert (route.prefill, route.decode, route.share, route.codec) == ("p", "d", 1.0, Codec.RAW)
    assert (found.transfer_usd_per_hour_per_rps, found.kv_gb_per_request) == (0.0, 0.0)
    assert found.served_rps == pytest.approx(min(replica.capacity_rps for replica in found.replicas))


def test_a_pair_that_would_fill_its_path_inside_an_instance_packs(member, monkeypatch):
    members = [member("p", Phase.PREFILL, "i0"), member("d", Phase.DECODE, "i0")]
    free = pair(capacities(), members, transfer_usd_per_hour=0.0, links={})
    assert free is not None
    assert free.served_rps < free.wire_rps < float("inf")
    monkeypatch.setattr("planner.orchestration.pairing.USABLE", 0.8 * 0.7 * free.served_rps / free.wire_rps)
    full = pair(capacities(), members, transfer_usd_per_hour=0.0, links={})
    assert full is not None
    assert {route.codec for route in full.routes} == {Codec.INT8}
    assert full.served_rps == pytest.approx(free.served_rps, rel=0.01)


def test_mixed_replicas_serve_alone_in_proportion_to_what_they_can(member):
    fast = member("m0", Phase.MIXED)
    slow = replace(member("m1", Phase.MIXED), layout=replace(fast.layout, kv_tokens=20_000))
    found = pair(capacities(), [fast, slow], transfer_usd_per_hour=0.0, links={})
    assert found is not None
    assert [route.codec for route in found.routes] == [Codec.LOCAL] * 2
    rates = [replica.capacity_rps for replica in found.replicas]
    assert [route.share for route in found.routes] == pytest.approx([rate / sum(rates) for rate in rates])


def test_transfer_that_costs_money_stops_at_its_budget(member):
    members = [member("p", Phase.PREFILL, egress_usd_per_gb=0.05), member("d", Phase.DECODE)]
    poor = pair(capacities(), members, transfer_usd_per_hour=1.0, links={})
    rich = pair(capacities(), members, transfer_usd_per_hour=100.0, links={})
    assert poor is not None
    assert rich is not None
    assert poor.routes[0].codec is Codec.INT4
    assert poor.served_rps * poor.transfer_usd_per_hour_per_rps == pytest.approx(1.0)
    assert rich.served_rps > 2 * poor.served_rps
    assert pair(capacities(), members, transfer_usd_per_hour=0.0, links={}) is None


def test_a_stated_link_widens_the_way(member):
    members = [
        member("p", Phase.PREFILL, network="lan", inet_up_gbit_per_s=0.1),
        member("d", Phase.DECODE, network="lan", inet_down_gbit_per_s=0.1),
    ]
    narrow = pair(capacities(), members, transfer_usd_per_hour=0.0, links={})
    wide = pair(capacities(), members, transfer_usd_per_hour=0.0, links={("o-p", "o-d"): Link(40.0, 0.5)})
    assert narrow is None or narrow.served_rps < 1.0
    assert wide is not None
    assert wide.routes[0].bandwidth_gbit_per_s == 40.0
    assert wide.served_rps > 5.0


def test_prefill_replicas_alone_serve_nothing(member):
    assert pair(capacities(), [member("p", Phase.PREFILL)], transfer_usd_per_hour=0.0, links={}) is None


def test_a_forced_codec_is_used_on_every_route(member):
    members = [member("p", Phase.PREFILL, "i0"), member("d", Phase.DECODE, "i0")]
    found = pair(Capacities(TASK, Codec.INT8), members, transfer_usd_per_hour=0.0, links={})
    assert found is not None
    assert {route.codec for route in found.routes} == {Codec.INT8}


def spread(member, *instances: Instance) -> Member:
    """The same replica with its layers in equal parts on these instances."""
    layers = TASK.llm.layers // len(instances)
    slots = tuple(Slot(KIND, place, layers) for place in range(len(instances)))
    stages = tuple(Stage(one.id, (0,), layers) for one in instances)
    return replace(
        member,
        replica=replace(member.replica, stages=stages),
        instance=instances[0],
        layout=layout_of(TASK.llm, 1, slots, Link(10.0, 0.5)),
        others=instances[1:],
    )


LAN = {"network": "lan", "inet_up_gbit_per_s": 10.0, "inet_down_gbit_per_s": 10.0}


def test_layers_that_both_ends_hold_on_an_instance_do_not_leave_it(member):
    prefill, decode = member("p", Phase.PREFILL, **LAN), member("d", Phase.DECODE, **LAN)
    spanning = spread(prefill, prefill.instance, decode.instance)
    half = pair(capacities(), [spanning, decode], transfer_usd_per_hour=0.0, links={})
    whole = pair(capacities(), [prefill, decode], transfer_usd_per_hour=0.0, links={})
    assert half is not None
    assert whole is not None
    assert [one.routes[0].bandwidth_gbit_per_s for one in (half, whole)] == [20.0, 10.0]
    assert half.kv_gb_per_request == pytest.approx(whole.kv_gb_per_request / 2)


def test_a_pair_split_alike_over_two_instances_puts_nothing_on_the_network(member):
    prefill, decode = member("p", Phase.PREFILL, **LAN), member("d", Phase.DECODE, **LAN)
    both = prefill.instance, decode.instance
    found = pair(capacities(), [spread(prefill, *both), spread(decode, *both)], transfer_usd_per_hour=0.0, links={})
    assert found is not None
    assert (found.kv_gb_per_request, found.transfer_usd_per_hour_per_rps) == (0.0, 0.0)
    assert found.hops[0] is not None
    assert found.hops[0].crossing == 0.0


def test_two_narrow_ways_carry_twice_as_much_as_one(member):
    """Their KV fills what leaves the prefill replica; the decode replicas have room to spare."""
    thin = LAN | {"inet_up_gbit_per_s": 0.2}
    one, other = member("p", Phase.PREFILL, **thin), member("q", Phase.PREFILL, **thin)
    decode = [member(f"d{i}", Phase.DECODE, **LAN) for i in range(2)]
    packed = Capacities(replace(TASK, slo=replace(TASK.slo, ttft_s=20.0)), Codec.INT4)
    narrow = pair(packed, [one, *decode], transfer_usd_per_hour=0.0, links={})
    wide = pair(packed, [spread(one, one.instance, other.instance), *decode], transfer_usd_per_hour=0.0, links={})
    assert narrow is not None
    assert wide is not None
    assert narrow.served_rps == pytest.approx(narrow.wire_rps, rel=1e-6)
    assert wide.served_rps == pytest.approx(2 * narrow.served_rps, rel=1e-6)


@given(st.data())
def test_a_request_weighs_on_wires_as_much_in_the_program_as_in_the_simulation(data):
    """Replicas over one to three of four instances each; every wire of the program is one of the simulation."""
    instances = [
        Instance(f"i{n}", f"o{n}", "vast", "Earth", "A40", 8, 39.4, 1.0, inet_up_gbit_per_s=2.0 + n, network="lan")
        for n in range(4)
    ]
    cuts = {1: (36,), 2: (11, 25), 3: (6, 12, 18)}
    members = []
    for number, phase in enumerate((Phase.PREFILL, Phase.PREFILL, Phase.DECODE, Phase.DECODE)):
        own = data.draw(st.permutations(instances))[: data.draw(st.integers(1, 3))]
        stages = tuple(Stage(one.id, (0,), layers) for one, layers in zip(own, cuts[len(own)], strict=True))
        slots = tuple(Slot(KIND, place, stage.layers) for place, stage in enumerate(stages))
        layout = layout_of(TASK.llm, 1, slots, Link(10.0, 0.5))
        members.append(Member(Replica(f"r{number}", phase, stages), own[0], layout, tuple(own[1:])))
    links = {("i0", "i1"): Link(0.5, 1.0)} if data.draw(st.booleans()) else {}
    hops, transport = transport_of(capacities(), members[:2], members[2:], links, 0.0, best_codec)
    paths = [
        Path(Route(f"r{i}", f"r{2 + j}", 0.25, hops[i][j].codec), hops[i][j]) for i, j in product(range(2), range(2))
    ]
    lanes = lanes_of(TASK.llm, paths, {f"r{n}": n for n in range(4)})
    prompt = TASK.demand.prompt_mean
    for (i, j), lane in zip(product(range(2), range(2)), lanes, strict=True):
        weighs = {
            wire: part * lane.wire_bytes_per_token * prompt * 8e-9
            for wire, part in zip(lane.wires, lane.parts, strict=True)
        }
        known = transport.wire_gbit[:, i, j]
        assert sorted(weighs.values()) == pytest.approx(sorted(known[known > 0]))
        widths = [wire.bytes_per_s * 8e-9 * USABLE for wire in weighs]
        assert sorted(widths) == pytest.approx(sorted(transport.wire_gbit_per_s[known > 0]))
