"""How a model lies on unlike GPUs of several instances, and how fast that is."""

from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.costmodel.pace import pipeline_pace
from planner.gpus import gpu_named
from planner.memory import StageMemory, kv_capacity_tokens
from planner.models import llm_named
from planner.parallel.shapes import GpuKind, Layout, Slot, layout_of

LLM = llm_named("llama-30b")
A40, A5000 = (GpuKind(gpu_named(name), memory, nvlink=False) for name, memory in (("A40", 44.9), ("A5000", 23.6)))
PROMPT = {"tokens": 2000.0, "pairs": 2000.0**2, "batch": 0.0, "context": 0.0}


def spanning(between: Link | tuple[tuple[Link, ...], ...] | None, layers: tuple[int, ...] = (25, 20, 15)) -> Layout:
    """Two stages on one instance, then one on another."""
    slots = zip((A40, A40, A5000), (0, 0, 1), layers, strict=True)
    return layout_of(LLM, 2, tuple(Slot(*slot) for slot in slots), between)


def test_on_one_instance_it_is_the_pipeline_of_equal_gpus():
    found = layout_of(LLM, 2, (Slot(A40, 0, 40), Slot(A40, 0, 20)))
    assert found.pace == pipeline_pace(LLM, A40.gpu, 2, (40, 20), nvlink=False)
    assert found.kv_tokens == kv_capacity_tokens(LLM, 2, [StageMemory(40, 44.9), StageMemory(20, 44.9)])
    assert (found.tp, found.pp, found.gpus, found.kinds) == (2, 2, 4, (A40,))


def test_each_stage_takes_the_time_of_its_own_gpus():
    """Most layers on the A5000, then most on an A40, which computes a prompt faster."""
    slow, fast = spanning(Link(40.0, 0.5), (10, 10, 40)).pace, spanning(Link(40.0, 0.5), (40, 10, 10)).pace
    alone = pipeline_pace(LLM, A5000.gpu, 2, (40,), nvlink=False).slowest_s(**PROMPT)
    assert slow.slowest_s(**PROMPT) == pytest.approx(alone, rel=0.02)
    assert fast.slowest_s(**PROMPT) < 0.9 * slow.slowest_s(**PROMPT)


def test_only_the_hops_across_take_the_networks_time():
    near, far = spanning(Link(40.0, 0.5)).pace, spanning(Link(10.0, 20.5)).pace
    sent = 2000 * LLM.hidden * 2.0 * 8
    assert far.pass_s(**PROMPT) - near.pass_s(**PROMPT) == pytest.approx(0.02 + sent / 10e9 - sent / 40e9)
    assert (near.pp, near.slowest_s(**PROMPT)) == (3, far.slowest_s(**PROMPT))


def test_a_network_slower_than_any_stage_sets_the_rate():
    """A pass of 2,000 tokens sends 213 megabits."""
    crawling = spanning(Link(0.1, 0.5)).pace
    assert crawling.slowest_s(**PROMPT) == pytest.approx(2000 * LLM.hidden * 16.0 / 0.1e9)


def test_each_hop_takes_the_link_of_its_own_two_instances():
    fast, slow = Link(40.0, 0.5), Link(40.0, 100.0)
    assert spanning(((fast, slow), (fast, fast))).pace.pass_s(**PROMPT) > 0.09 + spanning(fast).pace.pass_s(**PROMPT)
    assert spanning(((fast, fast), (slow, fast))).pace == spanning(fast).pace


def test_without_a_link_it_is_a_clouds_network():
    assert spanning(None).pace.hops_s > 0
    assert spanning(None).pace.wire_token_s > spanning(Link(40.0, 0.5)).pace.wire_token_s


def test_the_tightest_stage_limits_the_kv():
    roomy, tight = spanning(None, (25, 25, 10)), spanning(None, (20, 20, 20))
    assert 0 < tight.kv_tokens < roomy.kv_tokens


def test_equal_layouts_are_one_object():
    assert spanning(Link(40.0, 0.5)) is spanning(Link(40.0, 0.5))
    assert replace(spanning(None)) != spanning(None)


def test_layouts_that_nobody_asks_for_any_more_are_forgotten():
    """A controller lays replicas out over links that are measured anew each time, for weeks."""
    assert layout_of.cache_info().maxsize is not None
