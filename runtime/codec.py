"""The bit-exact reference of the codecs, in torch: K and V of one layer to frames and back, many tiles at once.

Whoever writes a faster kernel must give the same bytes. All arithmetic is in float32, each operation rounded on its
own (no fused multiply-add), quotients rounded half to even:

    scale = fp16((maximum - minimum) / levels)      minimum = fp16(minimum)
    code  = clamp(round((x - minimum) / scale), 0, levels), or 0 where scale is 0
    x'    = code * scale + minimum

| part   | K                                   | V                                                     |
|--------|-------------------------------------|-------------------------------------------------------|
| `int8` | per token, `int8_channels` a group  | the same                                              |
| `int4` | per channel over the part's tokens  | per token, `int4_channels` a group                    |

A part is laid out as K codes, K scales, K minima, V codes, V scales, V minima; codes by (token, channel), the even
channel of an `int4` pair in the low half of its byte. What is not finite, or too large for fp16, is refused.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from planner.errors import KvTransferError
from runtime.tiles import GROUP_TOKENS, HEADER, Geometry, KvFormat, Parts, Segment, Tile, check, seal

TORCH_DTYPE = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class CannotEncode(KvTransferError):
    """The KV holds NaN, infinities, or values that the codec has no number for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Frames of some heads of one layer: heads from `first_head` on, and of each the groups `groups`."""

    format: KvFormat
    layer: int
    first_head: int
    heads: int
    groups: tuple[int, int]

    @property
    def row_bytes(self) -> int:
        return self.format.span_bytes(self.layer, self.groups)


def encode(rows: Rows, keys: Tensor, values: Tensor, into: memoryview, tag: bytes) -> None:
    """Write the sealed frames of K and V, each `[heads, tokens, channels]`. Raises CannotEncode."""
    frames = torch.frombuffer(into, dtype=torch.uint8).view(rows.heads, rows.row_bytes)
    first = rows.groups[0] * GROUP_TOKENS
    for segment, window in _windows(rows):
        tokens = segment.groups * sum(segment.parts)
        payload = frames[:, window].view(rows.heads, segment.groups, segment.frame_bytes)[:, :, HEADER.size :]
        start = segment.first_group * GROUP_TOKENS - first
        tiles = [
            part[:, start : start + tokens].reshape(rows.heads * segment.groups, -1, part.shape[-1])
            for part in (keys, values)
        ]
        encoded = encode_tiles(rows.format.geometry, segment.parts, *tiles)
        payload.copy_(encoded.view(rows.heads, segment.groups, -1))
    for tile, frame in _frames(rows, into):
        seal(frame, rows.format.prefix(tile, tag))


def decode(rows: Rows, frames: memoryview, tag: bytes) -> tuple[Tensor, Tensor]:
    """K and V, each `[heads, tokens of the groups, channels]`, of frames that are all checked. Raises BadFrame."""
    for tile, frame in _frames(rows, frames):
        check(frame, rows.format.prefix(tile, tag))
    data = torch.frombuffer(frames, dtype=torch.uint8).view(rows.heads, rows.row_bytes)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for segment, window in _windows(rows):
        payload = data[:, window].reshape(rows.heads * segment.groups, segment.frame_bytes)[:, HEADER.size :]
        for part, parts in zip(decode_tiles(rows.format.geometry, segment.parts, payload), (keys, values), strict=True):
            parts.append(part.reshape(rows.heads, -1, part.shape[-1]))
    return torch.cat(keys, dim=1), torch.cat(values, dim=1)


def encode_tiles(geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
    """Payloads `[tiles, bytes]` of K and V, each `[tiles, tokens, channels]`, all tiles split alike."""
    if parts.raw:
        if not (torch.isfinite(keys).all() and torch.isfinite(values).all()):
            raise CannotEncode("KV holds values that are not finite.")
        return torch.cat([_bytes(keys), _bytes(values)], dim=1)
    pieces: list[Tensor] = []
    keys, values = keys.float(), values.float()
    if parts.int8:
        for part in (keys, values):
            pieces += _quantise_tokens(part[:, : parts.int8], geometry.int8_channels, 255)
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
    if not (torch.isfinite(scale).all() and torch.isfinite(minimum).all()):
        raise CannotEncode("KV holds values that are not finite, or that fp16 can't hold.")
    divisor = torch.where(scale == 0, 1.0, scale.float())
    codes = (part - minimum.float()).div_(divisor).round_().clamp_(0, levels)
    return codes.mul_(scale != 0).to(torch.uint8), scale, minimum


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


def _windows(rows: Rows) -> list[tuple[Segment, slice]]:
    """Runs of equal frames with their place in a row."""
    windows, at = [], 0
    for segment in rows.format.segments(rows.layer, rows.groups):
        length = segment.groups * segment.frame_bytes
        windows.append((segment, slice(at, at + length)))
        at += length
    return windows


def _frames(rows: Rows, data: memoryview) -> list[tuple[Tile, memoryview]]:
    frames, at = [], 0
    for head in range(rows.first_head, rows.first_head + rows.heads):
        for segment, _ in _windows(rows):
            for group in range(segment.first_group, segment.first_group + segment.groups):
                frames.append((Tile(rows.layer, head, group), data[at : at + segment.frame_bytes]))
                at += segment.frame_bytes
    return frames
