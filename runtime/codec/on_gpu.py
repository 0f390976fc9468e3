"""The codecs on a GPU, by Triton kernels: K and V never leave it unencoded. For caches of 16 bits, as in `compiled`.

A launch takes a section of all tiles. Only encoding waits for the GPU, once a batch, to learn whether it was refused.
"""

from typing import Any

import torch
from torch import Tensor

from runtime.codec import kernels, reference
from runtime.codec.protocol import NOT_IN_FP16, TORCH_DTYPE, CannotEncode
from runtime.codec.sections import Section, sections
from runtime.tiles.geometry import GROUP_TOKENS, Geometry, Parts, payload_bytes

ALIGNMENT_BYTES = 16
RUN_PAIRS = 32
"""Pairs of channels that a program takes where each channel is on its own: 128 bytes of a token."""


def encode_tiles(geometry: Geometry, parts: Parts, keys: Tensor, values: Tensor) -> Tensor:
    if parts.raw or geometry.value_bytes != 2:
        return reference.encode_tiles(geometry, parts, keys, values)
    payload = keys.new_empty((keys.shape[0], payload_bytes(geometry, parts)), dtype=torch.uint8)
    refused = keys.new_zeros(1, dtype=torch.int32)
    words = {True: _words(keys), False: _words(values)}
    for section in sections(geometry, parts):
        _launch(kernels.encode, section, words[section.of_keys], payload, refused, is_bf16=_is_bf16(keys))
    if refused.item():
        raise CannotEncode(NOT_IN_FP16)
    return payload


def decode_tiles(geometry: Geometry, parts: Parts, payload: Tensor) -> tuple[Tensor, Tensor]:
    if parts.raw or geometry.value_bytes != 2:
        return reference.decode_tiles(geometry, parts, payload)
    shape, payload = (2, payload.shape[0], sum(parts), geometry.head_dim), payload.contiguous()
    keys, values = payload.new_empty(shape, dtype=TORCH_DTYPE[geometry.dtype])
    for section in sections(geometry, parts):
        part = keys if section.of_keys else values
        _launch(kernels.decode, section, _words(part), payload, is_bf16=_is_bf16(part))
    return keys, values


def _launch(kernel: Any, section: Section, words: Tensor, payload: Tensor, *flags: Tensor, is_bf16: bool) -> None:
    """One program for each run of channels of each tile: a group of a token's, or `RUN_PAIRS`."""
    tiles, tile_tokens, row_pairs = words.shape
    pairs = row_pairs // section.groups if section.groups else min(RUN_PAIRS, row_pairs)
    kernel[(tiles, -(-row_pairs // pairs))](
        words,
        payload,
        *flags,
        section.first_token,
        section.tokens,
        tile_tokens,
        pairs,
        row_pairs,
        section.groups,
        payload.shape[1],
        section.at,
        section.scales_at,
        section.minima_at,
        by_channel=section.groups == 0,
        levels=section.levels,
        is_bf16=is_bf16,
        token_block=GROUP_TOKENS,
        pair_block=1 << (pairs - 1).bit_length(),
        aligned=payload.shape[1] % ALIGNMENT_BYTES == section.at % ALIGNMENT_BYTES == 0,
        enable_fp_fusion=False,
    )


def _is_bf16(part: Tensor) -> bool:
    return part.dtype is torch.bfloat16


def _words(part: Tensor) -> Tensor:
    """Pairs of channels, `[tiles, tokens, channels / 2]`: the same memory where it is contiguous."""
    return part.contiguous().view(torch.int32)
