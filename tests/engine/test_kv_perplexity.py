"""What the codecs cost on the shipped model: the KV of a long prefix is encoded, decoded, and read by what follows.

Teacher-forced: the next tokens are given, and the model says how likely each was. Plain transformers, no vLLM.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from transformers import DynamicCache, LlamaForCausalLM

from planner.deployment import Codec
from runtime.codec.rows import Rows, decode, encode
from runtime.tiles.format import KvFormat
from runtime.tiles.geometry import Geometry
from runtime.tiles.layout import Layout
from tests.engine.held_out import prompts
from tests.engine.kv_world import MODEL

pytestmark = pytest.mark.engine_env

PREFIX, CONTINUED, TEXTS = 2048, 512, 4
GEOMETRY = Geometry(8, 2, 64, "float16")
TAG = bytes(8)
SCHEMES = {
    "int8": (Codec.INT8, 0),
    "int4, 2 + 2 boundary layers": (Codec.INT4, 2),
    "int4, no boundary layers": (Codec.INT4, 0),
}


@pytest.fixture(scope="module")
def model() -> Iterator[LlamaForCausalLM]:
    loaded = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    with torch.inference_mode():
        yield loaded


def crossed(kv: list[tuple[torch.Tensor, torch.Tensor]], codec: Codec, boundary_layers: int) -> DynamicCache:
    """The cache as the other side would have it."""
    kv_format, cache = KvFormat(GEOMETRY, PREFIX, codec, boundary_layers), DynamicCache()
    for layer, (keys, values) in enumerate(kv):
        box = replace(kv_format.whole, layers=(layer, layer + 1))
        rows = Rows.of(Layout(kv_format, box), box)
        frames = memoryview(bytearray(rows.size))
        encode(rows, keys.half(), values.half(), frames, TAG)
        cache.update(*(part.float() for part in decode(rows, frames, TAG)), layer)
    return cache


def nats(model: LlamaForCausalLM, cache: DynamicCache, text: torch.Tensor) -> float:
    """Sum over the continuation's tokens of -log p."""
    logits = model(text[:, PREFIX:-1], past_key_values=cache).logits
    return float(torch.nn.functional.cross_entropy(logits[0], text[0, PREFIX + 1 :], reduction="sum"))


def test_int4_keeps_perplexity_within_1_percent_of_raw(model: LlamaForCausalLM) -> None:
    total = dict.fromkeys(("raw", *SCHEMES), 0.0)
    for prompt in prompts([PREFIX + CONTINUED] * TEXTS, skip=10_000):
        text = torch.tensor([prompt])
        prefix = model(text[:, :PREFIX], past_key_values=DynamicCache(), logits_to_keep=1).past_key_values
        kv = [(layer.keys, layer.values) for layer in prefix.layers]
        total["raw"] += nats(model, crossed(kv, Codec.RAW, 0), text)
        for name, (codec, boundary_layers) in SCHEMES.items():
            total[name] += nats(model, crossed(kv, codec, boundary_layers), text)
    count = TEXTS * (CONTINUED - 1)
    perplexity = {name: math.exp(sum_ / count) for name, sum_ in total.items()}
    for name, value in perplexity.items():
        print(f"{name}: perplexity {value:.4f} ({value / perplexity['raw'] - 1:+.3%} of raw)")
    assert perplexity["raw"] < 100
    for name in SCHEMES:
        assert perplexity[name] < perplexity["raw"] * 1.01
