"""Ways of carrying KV in fewer bits: the package's codecs, through sealed frames, and two for comparison only.

K and V of a window of text are each `[layers, heads, tokens, channels]`, in the cache's dtype; tokens in whole groups.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planner.deployment import Codec
from runtime.codec import compiled, reference
from runtime.codec.protocol import TORCH_DTYPE
from runtime.codec.rows import decode, encode, rows_of
from runtime.tiles.format import KvFormat
from runtime.tiles.frame import HEADER
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts
from runtime.tiles.layout import Layout

TAG = bytes(8)
HALF_BYTE_PARTS = Parts(0, 0, GROUP_TOKENS)

Kv = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way across: what arrives of KV, and the bytes of `tokens` tokens with the frames' headers."""

    name: str
    crossed: Callable[[Geometry, Kv], Kv]
    wire_bytes: Callable[[Geometry, int], int]


def of_codec(name: str, codec: Codec, boundary_layers: int) -> Scheme:
    """One of the package's, boundary layers no more than the model has."""

    def format_of(geometry: Geometry, tokens: int) -> KvFormat:
        return KvFormat(geometry, tokens, codec, min(boundary_layers, geometry.layers))

    def crossed(geometry: Geometry, kv: Kv) -> Kv:
        return through_frames(format_of(geometry, kv[0].shape[2]), kv)

    return Scheme(name, crossed, lambda geometry, tokens: size_of(format_of(geometry, tokens)))


def through_frames(kv_format: KvFormat, kv: Kv) -> Kv:
    """Encoded, sealed, checked and decoded, as a prompt is."""
    arrived = [torch.empty_like(part) for part in kv]
    for rows in rows_of(Layout(kv_format, kv_format.whole), kv_format.whole):
        frames, layers = memoryview(bytearray(rows.size)), slice(*rows.box.layers)
        encode(rows, kv[0][layers], kv[1][layers], frames, TAG, compiled)
        for target, part in zip(arrived, decode(rows, frames, TAG, compiled), strict=True):
            target[layers] = part
    return arrived[0], arrived[1]


def size_of(kv_format: KvFormat) -> int:
    return Layout(kv_format, kv_format.whole).size


def by_channel(geometry: Geometry, kv: Kv) -> Kv:
    """8 bits, K as `int4` has it: a scale for a channel of 64 tokens; V as in `int8`."""
    tiles = kv[0].float().unflatten(2, (-1, GROUP_TOKENS))
    least = tiles.amin(3, keepdim=True)
    scale = ((tiles.amax(3, keepdim=True) - least) / 255).half().float()
    least = least.half().float()
    codes = ((tiles - least) / scale.clamp(min=2**-24)).round().clamp(0, 255)
    keys = (codes * scale + least).flatten(2, 3).to(kv[0].dtype)
    return keys, INT8.crossed(geometry, kv)[1]


def by_channel_bytes(geometry: Geometry, tokens: int) -> int:
    """Had these tiles been frames of ours: K's scales and minima are a channel's, V's a group's of a token."""
    values = 2 * GROUP_TOKENS * geometry.head_dim
    scales = 4 * (geometry.head_dim + GROUP_TOKENS * (geometry.head_dim // geometry.int8_channels))
    return geometry.layers * geometry.kv_heads * (tokens // GROUP_TOKENS) * (HEADER.size + values + scales)


def by_token(geometry: Geometry, kv: Kv) -> Kv:
    """4 bits, K as the package has V: a scale for `int4_channels` of a token."""
    keys, values = (_tokens_in_half_bytes(geometry, part) for part in kv)
    return keys, values


def rotated(geometry: Geometry, kv: Kv) -> Kv:
    """The same, K turned by a Hadamard matrix meanwhile, which spreads a channel's outliers over the others."""
    turn = hadamard(geometry.head_dim)
    wide = replace(geometry, dtype="float32")
    keys = _tokens_in_half_bytes(wide, kv[0].float() @ turn) @ turn.T
    return keys.to(kv[0].dtype), _tokens_in_half_bytes(geometry, kv[1])


def hadamard(size: int) -> Tensor:
    """Orthogonal, `[size, size]`: Sylvester's, as often as its largest power of 2 goes into the size."""
    block = size & -size
    made = torch.ones(1, 1)
    while made.shape[0] < block:
        made = torch.cat((torch.cat((made, made), 1), torch.cat((made, -made), 1))) / 2**0.5
    return torch.block_diag(*[made] * (size // block))


def by_token_bytes(geometry: Geometry, tokens: int) -> int:
    """Had these tiles been frames of ours: two halves like the package's V, and a header."""
    half = GROUP_TOKENS * (geometry.head_dim // 2 + 4 * (geometry.head_dim // geometry.int4_channels))
    return geometry.layers * geometry.kv_heads * (tokens // GROUP_TOKENS) * (HEADER.size + 2 * half)


def _tokens_in_half_bytes(geometry: Geometry, part: Tensor) -> Tensor:
    """There and back as the V of tiles."""
    tiles = part.to(TORCH_DTYPE[geometry.dtype]).reshape(-1, GROUP_TOKENS, geometry.head_dim)
    payload = reference.encode_tiles(geometry, HALF_BYTE_PARTS, tiles, tiles)
    return reference.decode_tiles(geometry, HALF_BYTE_PARTS, payload)[1].view_as(part)


RAW = of_codec("raw", Codec.RAW, 0)
INT8 = of_codec("int8", Codec.INT8, 0)
DEFAULT = of_codec("int4, first and last 2 layers int8 (default)", Codec.INT4, 2)
SCHEMES = (
    RAW,
    INT8,
    DEFAULT,
    of_codec("int4, no boundary layers", Codec.INT4, 0),
    Scheme("for comparison: int8, K per channel", by_channel, by_channel_bytes),
    Scheme("for comparison: int4 per token", by_token, by_token_bytes),
    Scheme("for comparison: Hadamard on K, int4 per token", rotated, by_token_bytes),
)
