"""The codecs as loops that numba compiles for the CPU at hand, bit for bit what the reference gives.

Numbers of 16 bits are handled as bits, since numba has no such floats: `_number` and `_half` convert them. Minimum and
maximum are taken of integers that sort as the floats do (`_key`); that is exact, and vectorises where comparing floats
in order would not. No fast maths, so that nothing is reordered or fused; each inner loop is over one token's channels
without a branch. All functions release the interpreter, and stand in one file: numba's cache notices changes only so.

`bits` are a batch of K or V, `[tiles, tokens, channels]`; `payload` is `[tiles, bytes]`. Of a section the arguments are
`first` token and `tokens`, `groups` (0: a scale a channel), `levels`, and its place `at`.
"""

import numpy as np
from numpy.typing import NDArray

from runtime.codec.kept import compiled, kept

Bits = NDArray[np.uint16]
Bytes = NDArray[np.uint8]
Numbers = NDArray[np.float32]
Keys = NDArray[np.int16]

SIGNATURE = "(uint16[:,:,::1], uint8[:,::1], int64, int64, int64, int64, int64, boolean)"
DENORMAL = np.uint32(113 << 23)  # below this number's bits in float32 fp16 has denormals
REFUSED = 0x7C00  # infinity in fp16, in place of a scale: the group holds what the codec has no number for


@kept
def encode(
    bits: Bits, payload: Bytes, first: int, tokens: int, groups: int, levels: int, at: int, is_bf16: bool
) -> bool:
    """Write a section of every tile. False where a value is not finite, or is too large."""
    dim = bits.shape[2]
    step, lowest, number = np.empty(dim, np.float32), np.empty(dim, np.float32), np.empty(dim, np.float32)
    low, high, code = np.empty(dim, np.int16), np.empty(dim, np.int16), np.empty(dim, np.uint8)
    width = dim if levels == 255 else dim // 2
    scales_at = at + tokens * width
    minima_at = scales_at + 2 * (tokens * groups if groups else dim)
    for tile in range(bits.shape[0]):
        part, out = bits[tile, first : first + tokens], payload[tile]
        scales, minima = out[scales_at:minima_at].view(np.uint16), out[minima_at:].view(np.uint16)
        if not groups:
            _extremes_of_channels(part, low, high)
            if not _grids(low, high, levels, is_bf16, scales, minima, step, lowest):
                return False
        for token in range(tokens):
            if groups:
                own = slice(token * groups, (token + 1) * groups)
                _extremes_of_groups(part[token], low[:groups], high[:groups])
                if not _grids(low[:groups], high[:groups], levels, is_bf16, scales[own], minima[own], step, lowest):
                    return False
            _widen(part[token], is_bf16, number)
            _quantise(number, step, lowest, levels, code)
            _put(code, levels, out[at + token * width : at + (token + 1) * width])
    return True


@kept
def decode(
    bits: Bits, payload: Bytes, first: int, tokens: int, groups: int, levels: int, at: int, is_bf16: bool
) -> None:
    """Fill a section's tokens of every tile."""
    dim = bits.shape[2]
    step, lowest, number = np.empty(dim, np.float32), np.empty(dim, np.float32), np.empty(dim, np.float32)
    code = np.empty(dim, np.uint8)
    width = dim if levels == 255 else dim // 2
    scales_at = at + tokens * width
    minima_at = scales_at + 2 * (tokens * groups if groups else dim)
    for tile in range(bits.shape[0]):
        part, row = bits[tile, first : first + tokens], payload[tile]
        scales, minima = row[scales_at:minima_at].view(np.uint16), row[minima_at:].view(np.uint16)
        if not groups:
            _spread(scales[:dim], step)
            _spread(minima[:dim], lowest)
        for token in range(tokens):
            if groups:
                own = slice(token * groups, (token + 1) * groups)
                _spread(scales[own], step)
                _spread(minima[own], lowest)
            _get(row[at + token * width : at + (token + 1) * width], levels, code)
            _restore(code, step, lowest, number)
            _narrow(number, is_bf16, part[token])


@compiled
def _extremes_of_channels(part: Bits, low: Keys, high: Keys) -> None:
    low[:], high[:] = 0x7FFF, -0x8000
    for token in range(part.shape[0]):
        bits = part[token]
        for i in range(bits.size):
            key = _key(bits[i])
            low[i], high[i] = min(low[i], key), max(high[i], key)


@compiled
def _extremes_of_groups(bits: Bits, low: Keys, high: Keys) -> None:
    channels = bits.size // low.size
    for group in range(low.size):
        least, most, own = np.int16(0x7FFF), np.int16(-0x8000), bits[group * channels : (group + 1) * channels]
        for i in range(own.size):
            key = _key(own[i])
            least, most = min(least, key), max(most, key)
        low[group], high[group] = least, most


@compiled
def _grids(
    low: Keys, high: Keys, levels: int, is_bf16: bool, scales: Bits, minima: Bits, step: Numbers, lowest: Numbers
) -> bool:
    """Scales and minima of all groups, as they are sent and spread over the channels. False where one is refused."""
    channels = step.size // low.size
    for i in range(low.size):
        scale, minimum = _grid(low[i], high[i], levels, is_bf16)
        if scale == REFUSED:
            return False
        scales[i], minima[i] = scale, minimum
        step[i * channels : (i + 1) * channels] = _number(scale, False) if scale else np.float32(np.inf)
        lowest[i * channels : (i + 1) * channels] = _number(minimum, False)
    return True


@compiled
def _grid(low: np.int16, high: np.int16, levels: int, is_bf16: bool) -> tuple[np.uint16, np.uint16]:
    infinity = np.int16(0x7F80) if is_bf16 else np.int16(0x7C00)
    if high >= infinity or low <= ~infinity:
        return np.uint16(REFUSED), np.uint16(0)
    least, most = _number(np.uint16(_key(np.uint16(low))), is_bf16), _number(np.uint16(_key(np.uint16(high))), is_bf16)
    scale, minimum = _half(np.float32(most - least) / np.float32(levels)), _half(least)
    if minimum & 0x7FFF == REFUSED:
        return np.uint16(REFUSED), np.uint16(0)
    return np.uint16(scale & 0x7FFF), np.uint16(0 if minimum == 0x8000 else minimum)


@compiled
def _quantise(number: Numbers, step: Numbers, lowest: Numbers, levels: int, code: Bytes) -> None:
    """A step is infinite where the scale is 0: the code is then 0. Clamped first, which rounds to the same."""
    top = np.float32(levels)
    for i in range(code.size):
        place = (number[i] - lowest[i]) / step[i]
        code[i] = np.uint8(np.rint(min(max(place, np.float32(0)), top)))


@compiled
def _restore(code: Bytes, step: Numbers, lowest: Numbers, number: Numbers) -> None:
    for i in range(code.size):
        number[i] = np.float32(code[i]) * step[i] + lowest[i]


@compiled
def _put(code: Bytes, levels: int, out: Bytes) -> None:
    if levels == 255:
        out[:] = code
    else:
        pairs = code.view(np.uint16)
        for i in range(pairs.size):
            out[i] = np.uint8(pairs[i] | (pairs[i] >> 4))


@compiled
def _get(row: Bytes, levels: int, code: Bytes) -> None:
    if levels == 255:
        code[:] = row
    else:
        pairs = code.view(np.uint16)
        for i in range(pairs.size):
            pairs[i] = np.uint16((row[i] & 15) | (row[i] >> 4 << 8))


@compiled
def _spread(halves: Bits, number: Numbers) -> None:
    """Each over its run of channels."""
    if halves.size == number.size:
        _widen(halves, False, number)
    else:
        channels = number.size // halves.size
        for i in range(halves.size):
            number[i * channels : (i + 1) * channels] = _number(halves[i], False)


@compiled
def _widen(bits: Bits, is_bf16: bool, number: Numbers) -> None:
    if is_bf16:
        for i in range(bits.size):
            number[i] = _number(bits[i], True)
    else:
        for i in range(bits.size):
            number[i] = _number(bits[i], False)


@compiled
def _narrow(number: Numbers, is_bf16: bool, bits: Bits) -> None:
    """Half to even; what fp16 can't hold becomes its largest number."""
    if is_bf16:
        for i in range(bits.size):
            word = _word(number[i])
            bits[i] = np.uint16(np.uint32(word + 0x7FFF + np.uint32(np.uint32(word >> 16) & 1)) >> 16)
    else:
        for i in range(bits.size):
            bits[i] = _half(min(number[i], np.float32(65504)))


@compiled
def _key(bits: np.uint16) -> np.int16:
    """An integer that sorts as the float does, and from which the same gives the bits back."""
    signed = np.int16(bits)
    return np.int16(signed ^ np.int16(np.int16(signed >> 15) & np.int16(0x7FFF)))


@compiled
def _number(bits: np.uint16, is_bf16: bool) -> np.float32:
    """Exact, denormal halves too. Not for what isn't finite."""
    if is_bf16:
        return _float(np.uint32(np.uint32(bits) << 16))
    magnitude, sign = np.uint32(np.uint32(bits & 0x7FFF) << 13), np.uint32(np.uint32(bits & 0x8000) << 16)
    denormal = _word(_float(np.uint32(magnitude + DENORMAL)) - _float(DENORMAL))
    return _float((denormal if magnitude < 1 << 23 else np.uint32(magnitude + (112 << 23))) | sign)


@compiled
def _half(number: np.float32) -> np.uint16:
    """Half to even, denormals included; infinity where fp16 can't hold it. Not for NaN."""
    word = _word(number)
    magnitude, sign = np.uint32(word & 0x7FFFFFFF), np.uint32(np.uint32(word >> 16) & 0x8000)
    denormal = np.uint32(_word(_float(magnitude) + np.float32(0.5)) - (126 << 23))
    normal = np.uint32(np.uint32(magnitude + 0xFFF + np.uint32(np.uint32(magnitude >> 13) & 1) - (112 << 23)) >> 13)
    return np.uint16((denormal if magnitude < 113 << 23 else min(normal, np.uint32(0x7C00))) | sign)


@compiled
def _float(word: np.uint32) -> np.float32:
    return np.uint32(word).view(np.float32)


@compiled
def _word(number: np.float32) -> np.uint32:
    return np.float32(number).view(np.uint32)
