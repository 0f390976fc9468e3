from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.demand import demand_of
from planner.deployment import Codec, Phase
from planner.gpus import gpu_named
from planner.links import INSIDE
from planner.members import Member
from planner.models import llm_named
from planner.orchestration.pairing import pair
from planner.parallel.layouts import Capacities, GpuKind, Task, best_codec
from planner.search.placing import instance_of, replica_of
from planner.traces import workload_named
from planner.workload import Slo

TASK = Task(llm_named("qwen3-8b"), demand_of(workload_named("conversation"), 8192), Slo(), 8192)
KIND = GpuKind(gpu_named("A100-SXM4-40GB"), 39.4, nvlink=False)


@pytest.fixture
def member(offer):
    """A replica on one card of its own instance, or of a given one."""

    def make(name: str, phase: Phase, instance: str = "", **fields: object) -> Member:
        (layout,) = capacities().layouts(KIND, 1)
        machine = instance_of(offer(f"o-{instance or name}", "A100-SXM4-40GB", **fields), instance or name, TASK.llm)
        return Member(replica_of(name, phase, machine.id, 0, layout, TASK.llm), machine, layout)

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
