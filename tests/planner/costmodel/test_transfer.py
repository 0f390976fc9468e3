"""KV on the wire: how small, and how long it takes."""

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


def test_a_hop_is_latency_bytes_and_packing():
    link = Link(bandwidth_gbit_per_s=10.0, latency_ms=20.0)
    raw = kv_transfer_s(link, 1000.0, QWEN, Codec.RAW)
    assert raw == pytest.approx(0.02 + 1000 * 262_144 * 8 / 10e9)
    assert kv_transfer_s(link, 1000.0, QWEN, Codec.INT4) < raw
    assert kv_transfer_s(link, 1000.0, QWEN, Codec.LOCAL) == 0.0
    assert kv_wire_bytes(QWEN, 1000.0, Codec.LOCAL) == 0.0
