"""How long the KV of a prompt takes from one replica to another: latency + bytes ÷ bandwidth + encoding + decoding."""

from planner.catalog import Link
from planner.costmodel.layer import Amount, Seconds
from planner.deployment import Codec
from planner.llm import BYTES_PER_VALUE, LlmSpec

INT8_BITS, INT4_BITS, BOUNDARY_LAYERS = 8.25, 4.5, 4
"""Bits a value takes on the wire with scales; the first and last two layers of int4 travel as int8."""


def wire_ratio(llm: LlmSpec, codec: Codec) -> float:
    """How many times smaller KV is on the wire than in the cache."""
    bits = 32.0 if BYTES_PER_VALUE[llm.dtype] == 4.0 else 16.0
    boundary = min(BOUNDARY_LAYERS, llm.layers)
    match codec:
        case Codec.INT8:
            return bits / INT8_BITS
        case Codec.INT4:
            return bits * llm.layers / (boundary * INT8_BITS + (llm.layers - boundary) * INT4_BITS)
        case _:
            return 1.0


def kv_wire_bytes(llm: LlmSpec, tokens: Amount, codec: Codec) -> Amount:
    """What crosses the network for a prompt; nothing where the decode replica prefills itself."""
    if codec is Codec.LOCAL:
        return tokens * 0.0
    return tokens * llm.kv_bytes_per_token / wire_ratio(llm, codec)


def kv_transfer_s(link: Link, tokens: Amount, llm: LlmSpec, codec: Codec) -> Seconds:
    """Latency + bytes ÷ bandwidth, + packing and unpacking where the codec packs."""
    if codec is Codec.LOCAL:
        return tokens * 0.0
    wire = link.latency_ms / 1e3 + kv_wire_bytes(llm, tokens, codec) * 8 / (link.bandwidth_gbit_per_s * 1e9)
    packing = 0.0 if codec is Codec.RAW else 2 * tokens * llm.kv_bytes_per_token / (link.codec_gb_per_s * 1e9)
    return wire + packing
