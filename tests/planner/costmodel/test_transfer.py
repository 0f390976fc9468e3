"""KV on the wire: how small, and how long it takes."""

from dataclasses import replace

import pytest

from planner.catalog import Link
from planner.costmodel.transfer import kv_transfer_s, kv_wire_bytes, wire_ratio
from planner.deployment import Codec
from planner.models import llm_named

QWEN = llm_named("qwen3-32b")


@pytest.mark.parametrize(("codec", "ratio"), [(Codec.RAW, 1.0), (Codec.INT8, 1.94), (Codec.INT4, 3.2)])
def test_codecs_shrink_kv_as_the_wire_format_does(codec, ratio):
    assert wire_ratio(llm_named("llama-3.1-8b"), codec) == pytest.approx(ratio, rel=0.01)


def test_a_model_of_few_layers_gains_less_from_int4_as_its_ends_travel_in_int8():
    assert wire_ratio(llm_named("tiny-llama"), Codec.INT4) < wire_ratio(QWEN, Codec.INT4) < 3.56


@pytest.mark.parametrize("codec", [Codec.RAW, Codec.INT8, Codec.INT4])
def test_a_hop_is_latency_bytes_on_the_wire_and_the_cache_s_bytes_packed_and_unpacked(codec):
    link = Link(bandwidth_gbit_per_s=10.0, latency_ms=20.0, codec_gb_per_s=4.0)
    cached_bytes = 1000 * 262_144
    expected_s = 0.02 + cached_bytes / wire_ratio(QWEN, codec) * 8 / 10e9 + 2 * cached_bytes / 4e9
    assert kv_transfer_s(link, 1000.0, QWEN, codec) == pytest.approx(expected_s)


def test_a_prompt_that_is_computed_where_it_is_decoded_puts_nothing_on_the_wire():
    assert kv_transfer_s(Link(10.0, 20.0), 1000.0, QWEN, Codec.LOCAL) == 0.0
    assert kv_wire_bytes(QWEN, 1000.0, Codec.LOCAL) == 0.0


@pytest.mark.parametrize(("codec", "measured"), [(Codec.INT8, 1.879), (Codec.INT4, 2.442)])
def test_heads_of_64_shrink_as_little_as_was_measured(codec, measured):
    """benchmarks/results/kv_codec.md: the shipped model's frames with their headers, over 1,024 tokens."""
    shipped = replace(llm_named("llama-3.2-1b"), layers=8, kv_heads=2, head_dim=64)
    assert wire_ratio(shipped, codec) == pytest.approx(measured, rel=0.02)
