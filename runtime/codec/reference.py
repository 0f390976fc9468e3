"""The bit-exact reference of the codecs, in torch: K and V of many tiles to payloads and back.

Whoever writes a faster one must give the same bytes. All arithmetic is in float32, each operation rounded on its own
(no fused multiply-add), quotients rounded half to even:

    scale = fp16((maximum - minimum) / levels)      minimum = fp16(minimum)      both never -0
    code  = clamp(round((x - minimum) / scale), 0, levels), or 0 where scale is 0
    x'    = code * scale + minimum, or fp16's largest number where an fp16 cache can't hold that

| part   | K                                   | V                                                     |
|--------|-------------------------------------|-------------------------------------------------------|
| `int8` | per token, `int8_channels` a group  | the same                                              |
| `int4` | per channel over the part's tokens  | per token, `int4_channels` a group                    |

A part is laid out as K codes, K scales, K minima, V codes, V scales, V minima; codes by (token, channel), the even
channel of an `int4` pair in the low half of its byte. What is not finite, or too large for fp16, is refused.
"""

import torch
from torch import Tensor

from runtime.codec.protocol import NOT_FINITE, NOT_IN_FP16, TORCH_DTYPE, CannotEncode
from runtime.tiles.geometry import Geometry, Parts


def encode_tiles(geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
    """Payloads `[tiles, bytes]` of K and V, each `[tiles, tokens, channels]`, all tiles split alike."""
    if parts.raw:
        if not all(torch.isfinite(torch.stack(torch.aminmax(part))).all() for part in (keys, values)):
            raise CannotEncode(NOT_FINITE)
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
    return _rounded(keys_parts, dtype), _rounded(values_parts, dtype)


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
    scale, minimum = (_half(number) for number in ((high - low) / part.new_tensor(levels), low))
    step, lowest = scale.float(), minimum.float()
    if not torch.isfinite(step + lowest).all():
        raise CannotEncode(NOT_IN_FP16)
    flat = step == 0
    codes = (part - lowest).div_(step.masked_fill(flat, 1.0)).round_().clamp_(0, levels)
    return codes.masked_fill_(flat, 0.0).to(torch.uint8), scale, minimum


def _half(number: Tensor) -> Tensor:
    """In fp16. A zero is positive: which sign a minimum of 0 and -0 has is not the same everywhere."""
    half = number.half()
    return half.masked_fill(half == 0, 0.0)


def _rounded(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Joined, in the cache's dtype: rounding a scale up can lift a group's largest value past what fp16 holds."""
    return torch.cat(parts, dim=1).clamp_(max=torch.finfo(dtype).max).to(dtype)


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
