"""How long the KV of a prompt takes from one replica to another: latency + bytes ÷ bandwidth + packing + unpacking.

Packing copies KV out, encodes it and seals the frames; unpacking is the way back. Either takes the KV's bytes in the
cache ÷ `codec_gb_per_s`, whichever the codec: what `raw` need not encode it has more of to copy and to check.
"""

from planner.catalog import Link
from planner.costmodel.layer import Amount, Seconds
from planner.deployment import Codec
from planner.llm import BYTES_PER_VALUE, LlmSpec

GROUP, SCALE_BITS, HEADER_BITS = 64, 32, 256
"""Tokens of a tile, and channels that share a scale in int4; a scale with its minimum; a tile's header."""
BOUNDARY_LAYERS = 4
"""The first and last two layers of int4 travel as int8."""


def wire_ratio(llm: LlmSpec, codec: Codec) -> float:
    """How many times smaller KV is on the wire than in the cache; the few tokens kept precise are left out.

    Of int8 a token of a head shares a scale, for K and V each.
    """
    bits = 32.0 if BYTES_PER_VALUE[llm.dtype] == 4.0 else 16.0
    header = HEADER_BITS / (2 * GROUP * llm.head_dim)
    int8, int4 = 8 + SCALE_BITS / llm.head_dim + header, 4 + SCALE_BITS / GROUP + header
    boundary = min(BOUNDARY_LAYERS, llm.layers)
    match codec:
        case Codec.INT8:
            return bits / int8
        case Codec.INT4:
            return bits * llm.layers / (boundary * int8 + (llm.layers - boundary) * int4)
        case _:
            return 1.0


def kv_wire_bytes(llm: LlmSpec, tokens: Amount, codec: Codec) -> Amount:
    """What crosses the network for a prompt; nothing where the decode replica prefills itself."""
    if codec is Codec.LOCAL:
        return tokens * 0.0
    return tokens * llm.kv_bytes_per_token / wire_ratio(llm, codec)


def kv_transfer_s(link: Link, tokens: Amount, llm: LlmSpec, codec: Codec) -> Seconds:
    """Latency + bytes ÷ bandwidth, + packing and unpacking."""
    if codec is Codec.LOCAL:
        return tokens * 0.0
    wire = link.latency_ms / 1e3 + kv_wire_bytes(llm, tokens, codec) * 8 / (link.bandwidth_gbit_per_s * 1e9)
    return wire + 2 * tokens * llm.kv_bytes_per_token / (link.codec_gb_per_s * 1e9)
