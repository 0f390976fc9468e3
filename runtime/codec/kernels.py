"""The codecs as Triton kernels, bit for bit what the reference gives; a program takes one run of channels of one tile.

Two channels of the cache are one word of 32 bits, the even one low: so loads are whole, and an `int4` pair is at hand.
Division and rounding are told to be exact (`div_rn`; adding 2^23 rounds half to even), 16-bit numbers are made by hand
where the interpreter of `TRITON_INTERPRET=1` has none of its own, and the launches switch fused multiply-add off.

`first`, `tokens`, `groups`, `at` and `levels` are a section's; `pairs` are those of a run and `row_pairs` of a token.
`aligned` promises that tiles and their codes begin at multiples of 16 bytes.
"""

import triton
import triton.language as tl

VARYING = ["first", "tokens", "tile_tokens", "groups", "tile_bytes", "at", "scales_at", "minima_at"]
"""From prompt to prompt. Left alone, Triton would compile anew in the middle of serving for some of their values."""


@triton.jit(do_not_specialize=VARYING)
def encode(
    words, payload, refused, first, tokens, tile_tokens, pairs, row_pairs, groups, tile_bytes, at, scales_at, minima_at,
    by_channel: tl.constexpr, levels: tl.constexpr, is_bf16: tl.constexpr,
    token_block: tl.constexpr, pair_block: tl.constexpr, aligned: tl.constexpr,
):  # fmt: skip
    """Write a run of a tile's section; `refused` becomes 1 where the codec has no number for a value."""
    if aligned:
        tile_bytes, at = tl.multiple_of(tile_bytes, 16), tl.multiple_of(at, 16)
    tile, run = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token, pair = tl.arange(0, token_block)[:, None], run * pairs + tl.arange(0, pair_block)[None, :]
    inside = (token < tokens) & (pair < tl.minimum((run + 1) * pairs, row_pairs))
    word = tl.load(words + (tile * tile_tokens + first + token) * row_pairs + pair, mask=inside, other=0)
    word = word.to(tl.uint32, bitcast=True)
    even, odd = _numbers(word, is_bf16)
    some, index, next_index = _scale_places(token, tokens, pair, row_pairs, groups, run, by_channel)
    low_even, high_even = _extremes(even, inside, by_channel)
    low_odd, high_odd = _extremes(odd, inside, by_channel)
    if not by_channel:
        low_even, high_even = tl.minimum(low_even, low_odd), tl.maximum(high_even, high_odd)
        low_odd, high_odd = low_even, high_even
    scale_even, least_even = _grid(low_even, high_even, some, levels)
    scale_odd, least_odd = _grid(low_odd, high_odd, some, levels)
    bad = _not_finite(word, is_bf16).to(tl.int32)
    bad = tl.maximum(tl.max(bad), tl.max(_too_large(scale_even, least_even)))
    bad = tl.maximum(bad, tl.max(_too_large(scale_odd, least_odd)))
    tl.store(refused, 1, mask=bad > 0)
    row = payload + tile * tile_bytes
    _store_half(row + scales_at, index, scale_even, some)
    _store_half(row + minima_at, index, least_even, some)
    if by_channel:
        _store_half(row + scales_at, next_index, scale_odd, some)
        _store_half(row + minima_at, next_index, least_odd, some)
    code_even = _codes(even, scale_even, least_even, levels)
    code_odd = _codes(odd, scale_odd, least_odd, levels)
    if levels == 255:
        place = (row + at).to(tl.pointer_type(tl.uint16)) + token * row_pairs + pair
        tl.store(place, (code_even | (code_odd << 8)).to(tl.uint16), mask=inside)
    else:
        tl.store(row + at + token * row_pairs + pair, (code_even | (code_odd << 4)).to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=VARYING)
def decode(
    words, payload, first, tokens, tile_tokens, pairs, row_pairs, groups, tile_bytes, at, scales_at, minima_at,
    by_channel: tl.constexpr, levels: tl.constexpr, is_bf16: tl.constexpr,
    token_block: tl.constexpr, pair_block: tl.constexpr, aligned: tl.constexpr,
):  # fmt: skip
    """Fill a run of a tile's section."""
    if aligned:
        tile_bytes, at = tl.multiple_of(tile_bytes, 16), tl.multiple_of(at, 16)
    tile, run = tl.program_id(0).to(tl.int64), tl.program_id(1)
    token, pair = tl.arange(0, token_block)[:, None], run * pairs + tl.arange(0, pair_block)[None, :]
    inside = (token < tokens) & (pair < tl.minimum((run + 1) * pairs, row_pairs))
    row = payload + tile * tile_bytes
    some, index, next_index = _scale_places(token, tokens, pair, row_pairs, groups, run, by_channel)
    scale_even, least_even = _load_half(row + scales_at, index, some), _load_half(row + minima_at, index, some)
    scale_odd = _load_half(row + scales_at, next_index, some)
    least_odd = _load_half(row + minima_at, next_index, some)
    if levels == 255:
        place = (row + at).to(tl.pointer_type(tl.uint16)) + token * row_pairs + pair
        both = tl.load(place, mask=inside, other=0).to(tl.int32)
        code_even, code_odd = both & 255, both >> 8
    else:
        both = tl.load(row + at + token * row_pairs + pair, mask=inside, other=0).to(tl.int32)
        code_even, code_odd = both & 15, both >> 4
    even = _rounded(code_even.to(tl.float32) * scale_even + least_even, is_bf16)
    odd = _rounded(code_odd.to(tl.float32) * scale_odd + least_odd, is_bf16)
    word = (even | (odd << 16)).to(tl.int32, bitcast=True)
    tl.store(words + (tile * tile_tokens + first + token) * row_pairs + pair, word, mask=inside)


@triton.jit
def _scale_places(token, tokens, pair, row_pairs, groups, run, by_channel: tl.constexpr):
    """Which scales there are, and the places of an even channel's and the odd one's: the same if they are by token."""
    if by_channel:
        some, index, next_index = pair < row_pairs, 2 * pair, 2 * pair + 1
    else:
        some, index, next_index = token < tokens, token * groups + run, token * groups + run
    return some, index, next_index


@triton.jit
def _extremes(number, inside, by_channel: tl.constexpr):
    """Over a channel's tokens, or over a token's channels, kept as an axis of 1."""
    axis: tl.constexpr = 0 if by_channel else 1
    low, high = tl.where(inside, number, float("inf")), tl.where(inside, number, float("-inf"))
    return tl.expand_dims(tl.min(low, axis), axis), tl.expand_dims(tl.max(high, axis), axis)


@triton.jit
def _numbers(word, is_bf16: tl.constexpr):
    """The two values of a word."""
    if is_bf16:
        even, odd = (word << 16).to(tl.float32, bitcast=True), ((word >> 16) << 16).to(tl.float32, bitcast=True)
    else:
        even = word.to(tl.uint16).to(tl.float16, bitcast=True).to(tl.float32)
        odd = (word >> 16).to(tl.uint16).to(tl.float16, bitcast=True).to(tl.float32)
    return even, odd


@triton.jit
def _not_finite(word, is_bf16: tl.constexpr):
    exponent: tl.constexpr = 0x7F80 if is_bf16 else 0x7C00
    return ((word & exponent) == exponent) | (((word >> 16) & exponent) == exponent)


@triton.jit
def _grid(low, high, some, levels: tl.constexpr):
    """Scale and minimum as fp16 has them; 0 where there is no value."""
    low, high = tl.where(some, low, 0.0), tl.where(some, high, 0.0)
    scale, least = tl.div_rn(high - low, tl.full(low.shape, levels, tl.float32)).to(tl.float16), low.to(tl.float16)
    scale, least = scale.to(tl.float32), least.to(tl.float32)
    return tl.where(scale == 0, 0.0, scale), tl.where(least == 0, 0.0, least)


@triton.jit
def _too_large(scale, least):
    return tl.maximum((scale > 65504.0).to(tl.int32), (tl.abs(least) > 65504.0).to(tl.int32))


@triton.jit
def _codes(number, scale, least, levels: tl.constexpr):
    """Clamped before rounding, which gives the same."""
    flat = scale == 0
    divisor = tl.broadcast_to(tl.where(flat, 1.0, scale), number.shape)
    place = tl.minimum(tl.maximum(tl.div_rn(number - least, divisor), 0.0), levels)
    code = (place + 8388608.0) - 8388608.0
    return tl.where(flat, 0.0, code).to(tl.int32)


@triton.jit
def _rounded(number, is_bf16: tl.constexpr):
    """The bits of 16, half to even; what fp16 can't hold becomes its largest number."""
    if is_bf16:
        word = number.to(tl.uint32, bitcast=True)
        bits = (word + 0x7FFF + ((word >> 16) & 1)) >> 16
    else:
        bits = tl.minimum(number, 65504.0).to(tl.float16).to(tl.uint16, bitcast=True).to(tl.uint32)
    return bits


@triton.jit
def _store_half(row, index, number, mask):
    tl.store(row.to(tl.pointer_type(tl.float16)) + index, number.to(tl.float16), mask=mask)


@triton.jit
def _load_half(row, index, mask):
    return tl.load(row.to(tl.pointer_type(tl.float16)) + index, mask=mask, other=0.0).to(tl.float32)
