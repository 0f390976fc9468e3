"""The codecs on a CPU, by compiled loops: several times as quick as the reference, and without the interpreter.

For caches of 16 bits. Anything else, and `raw`, is the reference's.
"""

from typing import Any, cast

import torch
from torch import Tensor

from runtime.codec import loops, reference
from runtime.codec.protocol import NOT_IN_FP16, TORCH_DTYPE, CannotEncode
from runtime.codec.sections import Section, sections
from runtime.tiles.geometry import Geometry, Parts, payload_bytes


def warm_up() -> None:
    """Seconds of CPU time on a machine that has not kept the machine code, else tenths of one."""
    for function in (loops.encode, loops.decode):
        cast("Any", function).compile(loops.SIGNATURE)


def encode_tiles(geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
    if parts.raw or geometry.value_bytes != 2:
        return reference.encode_tiles(geometry, parts, keys, values)
    payload = torch.empty(keys.shape[0], payload_bytes(geometry, parts), dtype=torch.uint8)
    bits = {True: _bits(keys), False: _bits(values)}
    for section in sections(geometry, parts):
        if not loops.encode(bits[section.of_keys], payload.numpy(), *_place(section), keys.dtype is torch.bfloat16):
            raise CannotEncode(NOT_IN_FP16)
    return payload


def decode_tiles(geometry: Geometry, parts: Parts, payload: Tensor) -> tuple[Tensor, Tensor]:
    if parts.raw or geometry.value_bytes != 2:
        return reference.decode_tiles(geometry, parts, payload)
    dtype, data = TORCH_DTYPE[geometry.dtype], payload.contiguous().numpy()
    keys, values = torch.empty(2, payload.shape[0], sum(parts), geometry.head_dim, dtype=dtype)
    for section in sections(geometry, parts):
        loops.decode(_bits(keys if section.of_keys else values), data, *_place(section), dtype is torch.bfloat16)
    return keys, values


def _place(section: Section) -> tuple[int, int, int, int, int]:
    return section.first_token, section.tokens, section.groups, section.levels, section.at


def _bits(part: Tensor) -> loops.Bits:
    """The same memory where it is contiguous."""
    return cast("loops.Bits", part.contiguous().view(torch.uint16).numpy())
