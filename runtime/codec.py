"""The bit-exact reference of the codecs, in torch: K and V of some layers to frames and back, many tiles at once.

Whoever writes a faster kernel must give the same bytes. All arithmetic is in float32, each operation rounded on its
own (no fused multiply-add), quotients rounded half to even:

    scale = fp16((maximum - minimum) / levels)      minimum = fp16(minimum)
    code  = clamp(round((x - minimum) / scale), 0, levels), or 0 where scale is 0
    x'    = code * scale + minimum

| part   | K                                   | V                                                     |
|--------|-------------------------------------|-------------------------------------------------------|
| `int8` | per token, `int8_channels` a group  | the same                                              |
| `int4` | per channel over the part's tokens  | per token, `int4_channels` a group                    |

What it takes is mostly a fixed time for each of torch's operations, beside which it lets go of the interpreter, as long
as tiles are few. So layers that are encoded alike go through together, up to `BATCH_BYTES`.

A part is laid out as K codes, K scales, K minima, V codes, V scales, V minima; codes by (token, channel), the even
channel of an `int4` pair in the low half of its byte. What is not finite, or too large for fp16, is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, starmap
from typing import Self

import torch
from torch import Tensor

from planner.errors import KvTransferError
from runtime.tiles import GROUP_TOKENS, HEADER, Box, Geometry, KvFormat, Layout, Parts, Segment, Tile, check, seal

BATCH_BYTES = 4 << 20
"""Of KV as the cache holds it: from here on the work in an operation is far longer than what it takes besides."""
TORCH_DTYPE = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class CannotEncode(KvTransferError):
    """The KV holds NaN, infinities, or values that the codec has no number for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Frames of a box of tiles whose layers are all encoded alike, as they lie in a layout of the same groups.

    Bytes: the first frame lies at `offset`, each head's row of frames takes `row_bytes`, and a layer begins
    `layer_stride` behind the one before. Runs of equal frames are `segments`, each with its place in a row.
    """

    format: KvFormat
    box: Box
    offset: int
    row_bytes: int
    layer_stride: int
    segments: tuple[tuple[Segment, slice], ...]

    @classmethod
    def of(cls, layout: Layout, box: Box) -> Self:
        segments = tuple(layout.format.segments(box.layers[0], box.groups))
        lengths = [segment.groups * segment.frame_bytes for segment in segments]
        ends = [0, *accumulate(lengths)]
        return cls(
            layout.format,
            box,
            offset=layout.offset(Tile(box.layers[0], box.heads[0], box.groups[0])),
            row_bytes=ends[-1],
            layer_stride=ends[-1] * (layout.box.heads[1] - layout.box.heads[0]),
            segments=tuple(zip(segments, starmap(slice, pairwise(ends)), strict=True)),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads."""
        return self.box.layers[1] - self.box.layers[0], self.box.heads[1] - self.box.heads[0]

    @property
    def size(self) -> int:
        """Bytes from the first frame to the end of the last one, other heads' between them included."""
        layers, heads = self.shape
        return (layers - 1) * self.layer_stride + heads * self.row_bytes


def rows_of(layout: Layout, box: Box) -> Iterator[Rows]:
    """A box of a layout, layers encoded alike together, up to `BATCH_BYTES` of KV at once or a layer."""
    geometry, tokens = layout.format.geometry, (box.groups[1] - box.groups[0]) * GROUP_TOKENS
    layer_bytes = 2 * (box.heads[1] - box.heads[0]) * tokens * geometry.head_dim * geometry.value_bytes
    most = max(1, BATCH_BYTES // layer_bytes)
    for first, stop in layout.format.alike(box.layers):
        for start in range(first, stop, most):
            yield Rows.of(layout, replace(box, layers=(start, min(stop, start + most))))


def encode(rows: Rows, keys: Tensor, values: Tensor, into: memoryview, tag: bytes) -> None:
    """Write the sealed frames of K and V, each `[layers, heads, tokens, channels]`. Raises CannotEncode."""
    frames = _frames(rows, into)
    layers, heads = rows.shape
    first = rows.box.groups[0] * GROUP_TOKENS
    for segment, window in rows.segments:
        start, tokens = segment.first_group * GROUP_TOKENS - first, segment.groups * sum(segment.parts)
        tiles = [
            part[:, :, start : start + tokens].reshape(layers * heads * segment.groups, -1, part.shape[-1])
            for part in (keys, values)
        ]
        encoded = encode_tiles(rows.format.geometry, segment.parts, *tiles)
        frames[:, :, window].unflatten(2, (segment.groups, -1))[..., HEADER.size :] = encoded.view(
            layers, heads, segment.groups, -1
        )
    for prefix, frame in _named(rows, into, tag):
        seal(frame, prefix)


def decode(rows: Rows, data: memoryview, tag: bytes) -> tuple[Tensor, Tensor]:
    """K and V, each `[layers, heads, tokens of the groups, channels]`, of frames that are all checked. BadFrame."""
    for prefix, frame in _named(rows, data, tag):
        check(frame, prefix)
    frames = _frames(rows, data)
    layers, heads = rows.shape
    found = []
    for segment, window in rows.segments:
        payload = frames[:, :, window].reshape(layers * heads * segment.groups, segment.frame_bytes)[:, HEADER.size :]
        tiles = decode_tiles(rows.format.geometry, segment.parts, payload)
        found.append([part.reshape(layers, heads, -1, part.shape[-1]) for part in tiles])
    keys, values = (torch.cat(parts, dim=2) for parts in zip(*found, strict=True))
    return keys, values


def encode_tiles(geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
    """Payloads `[tiles, bytes]` of K and V, each `[tiles, tokens, channels]`, all tiles split alike."""
    if parts.raw:
        if not (torch.isfinite(keys).all() and torch.isfinite(values).all()):
            raise CannotEncode("KV holds values that are not finite.")
        return torch.cat([_bytes(keys), _bytes(values)], dim=1)
    pieces: list[Tensor] = []
    keys, values = keys.float(), values.float()
    if parts.int8:
        both = torch.cat((keys[:, : parts.int8], values[:, : parts.int8]))
        halves = [piece.chunk(2) for piece in _quantise_tokens(both, geometry.int8_channels, 255)]
        pieces += [piece for half in zip(*halves, strict=True) for piece in half]
    if parts.int4:
        pieces += _quantise_channels(keys[:, parts.int8 :])
        pieces += _quantise_tokens(values[:, parts.int8 :], geometry.int4_channels, 15)
    return torch.cat(pieces, dim=1)


def decode_tiles(geometry: Geometry, parts: Parts, payload: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `encode_tiles`, in the cache's dtype."""
    reader, dim, dtype = _Reader(payload), geometry.head_dim, TORCH_DTYPE[geometry.dtype]
    if parts.raw:
        keys, values = (reader.take(parts.raw * dim, dtype).view(-1, parts.raw, dim) for _ in range(2))
        return keys, values
    keys_parts, values_parts = [], []
    if parts.int8:
        keys_parts.append(_restore_tokens(reader, parts.int8, dim, geometry.int8_channels, 255))
        values_parts.append(_restore_tokens(reader, parts.int8, dim, geometry.int8_channels, 255))
    if parts.int4:
        keys_parts.append(_restore_channels(reader, parts.int4, dim))
        values_parts.append(_restore_tokens(reader, parts.int4, dim, geometry.int4_channels, 15))
    return torch.cat(keys_parts, dim=1).to(dtype), torch.cat(values_parts, dim=1).to(dtype)


def _quantise_tokens(part: Tensor, channels: int, levels: int) -> list[Tensor]:
    """Codes, scales and minima of `[tiles, tokens, channels]`, a group being some channels of a token."""
    tiles, tokens, dim = part.shape
    codes, scale, minimum = _quantise(part.reshape(tiles, tokens, dim // channels, channels), -1, levels)
    codes = codes.view(tiles, tokens, dim)
    return [_bytes(codes if levels == 255 else _packed(codes)), _bytes(scale), _bytes(minimum)]


def _quantise_channels(part: Tensor) -> list[Tensor]:
    """The same in 4 bits, a group being all tokens of a channel."""
    codes, scale, minimum = _quantise(part, 1, 15)
    return [_bytes(_packed(codes)), _bytes(scale), _bytes(minimum)]


def _quantise(part: Tensor, group_dim: int, levels: int) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.aminmax(part, dim=group_dim, keepdim=True)
    # A divisor on the same device: torch on CUDA multiplies by the reciprocal of a Python number.
    scale, minimum = ((high - low) / part.new_tensor(levels)).half(), low.half()
    step, lowest = scale.float(), minimum.float()
    if not torch.isfinite(step + lowest).all():
        raise CannotEncode("KV holds values that are not finite, or that fp16 can't hold.")
    flat = step == 0
    codes = (part - lowest).div_(step.masked_fill(flat, 1.0)).round_().clamp_(0, levels)
    return codes.masked_fill_(flat, 0.0).to(torch.uint8), scale, minimum


def _restore_tokens(reader: "_Reader", tokens: int, dim: int, channels: int, levels: int) -> Tensor:
    groups = dim // channels
    codes = reader.take(tokens * dim, torch.uint8) if levels == 255 else _unpacked(reader.take(tokens * dim // 2))
    scale, minimum = (reader.take(tokens * groups, torch.float16).float().view(-1, tokens, groups, 1) for _ in "sm")
    restored = codes.float().view(-1, tokens, groups, channels).mul_(scale).add_(minimum)
    return restored.view(-1, tokens, dim)


def _restore_channels(reader: "_Reader", tokens: int, dim: int) -> Tensor:
    codes = _unpacked(reader.take(tokens * dim // 2))
    scale, minimum = (reader.take(dim, torch.float16).float().view(-1, 1, dim) for _ in "sm")
    return codes.float().view(-1, tokens, dim).mul_(scale).add_(minimum)


class _Reader:
    """Takes a payload `[tiles, bytes]` apart from left to right."""

    def __init__(self, payload: Tensor) -> None:
        self._payload = payload
        self._at = 0

    def take(self, count: int, dtype: torch.dtype = torch.uint8) -> Tensor:
        """The next `count` numbers of every tile."""
        length = count * dtype.itemsize
        piece = self._payload[:, self._at : self._at + length]
        self._at += length
        return piece.contiguous().view(dtype)


def _packed(codes: Tensor) -> Tensor:
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def _unpacked(packed: Tensor) -> Tensor:
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def _bytes(part: Tensor) -> Tensor:
    """The memory of every tile as a row of bytes."""
    return part.contiguous().flatten(1).view(torch.uint8)


def _frames(rows: Rows, data: memoryview) -> Tensor:
    """The bytes of all frames, `[layers, heads, bytes of a row]`."""
    flat = torch.frombuffer(data, dtype=torch.uint8, count=rows.size)
    return flat.as_strided((*rows.shape, rows.row_bytes), (rows.layer_stride, rows.row_bytes, 1))


def _named(rows: Rows, data: memoryview, tag: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every frame with the header that it must have."""
    for i, layer in enumerate(range(*rows.box.layers)):
        for j, head in enumerate(range(*rows.box.heads)):
            at = i * rows.layer_stride + j * rows.row_bytes
            for segment, _ in rows.segments:
                for group in range(segment.first_group, segment.first_group + segment.groups):
                    yield rows.format.prefix(Tile(layer, head, group), tag), data[at : at + segment.frame_bytes]
                    at += segment.frame_bytes
